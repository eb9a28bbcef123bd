package telemetry

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOwnMetricsAreDescribed(t *testing.T) {
	all, err := Own()
	require.NoError(t, err)
	find := func(name string) Metric {
		i := slices.IndexFunc(all, func(m Metric) bool { return m.Name == name })
		require.GreaterOrEqual(t, i, 0, "%s of %v", name, all)
		return all[i]
	}
	require.Equal(t, Metric{"neoteny_coordinator_segments", []string{"state"}}, find("neoteny_coordinator_segments"))
	require.Empty(t, find("neoteny_worker_steps_total").Labels)
	require.Equal(t, []string{"outcome"}, find("neoteny_worker_segments_total").Labels)
}
