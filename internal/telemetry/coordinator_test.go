package telemetry

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestCoordinatorMetricsLint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	size := int64(-1)
	stats := func() CoordinatorStats {
		return CoordinatorStats{
			Experiments: map[string]int{"running": 1}, Segments: map[string]int{"pending": 2}, Workers: map[string]int{"ready": 3},
			Slots: 6, Busy: 4, StoreBytes: size,
		}
	}
	c, err := NewCoordinator(reg, stats)
	require.NoError(t, err)
	c.Assigned(-1) // of another machine's clock
	c.Assigned(2)
	c.Committed()
	c.Requeued()
	c.Failed(2)
	c.RunEnded("done")
	c.Passed(0.1)
	n, err := testutil.GatherAndCount(reg, "neoteny_coordinator_etcd_bytes")
	require.NoError(t, err)
	require.Zero(t, n, "a size that is not known is not shown")
	size = 5
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	n, err = testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Equal(t, 13, n)
	_, err = NewCoordinator(reg, stats)
	require.Error(t, err, "twice in one registry")
	_, err = NewCoordinator(nil, stats)
	require.NoError(t, err)
}
