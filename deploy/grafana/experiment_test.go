package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/telemetry"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment"
	"neoteny/services/metrics"
)

// TestTheCommittedDashboardIsFresh compares what is committed with what would be
// written now.
func TestTheCommittedDashboardIsFresh(t *testing.T) {
	want, err := generate()
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file)))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run `go run ./deploy/grafana` and commit what it writes")
}

// registry lists every metric that the services have.
func registry(t *testing.T) []telemetry.Metric {
	t.Helper()
	all, err := telemetry.Own()
	require.NoError(t, err)
	svc, err := metrics.New(metrics.Deps{Logger: slog.New(slog.DiscardHandler)}, metrics.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, svc.Close()) }()
	own, err := telemetry.Describe(svc)
	require.NoError(t, err)
	return append(all, own...)
}

var (
	braces  = regexp.MustCompile(`\{[^}]*\}`)
	by      = regexp.MustCompile(`by \(([^)]*)\)`)
	matcher = regexp.MustCompile(`(\w+)(?:=~|!=|!~|=)"`)
)

// TestPanelsUseMetricsOfTheRegistry finds names and labels that no service has.
func TestPanelsUseMetricsOfTheRegistry(t *testing.T) {
	all := registry(t)
	spec, err := os.ReadFile("../../recipes/quickstart.yaml")
	require.NoError(t, err)
	parsed, err := experiment.Parse(spec)
	require.NoError(t, err)
	plan, err := experiment.Expand(parsed)
	require.NoError(t, err)
	probed := plan.Trials[0].Spec.Metrics()

	find := func(name string) telemetry.Metric {
		i := slices.IndexFunc(all, func(m telemetry.Metric) bool { return m.Name == name })
		require.GreaterOrEqual(t, i, 0, "no service has the metric %s", name)
		return all[i]
	}
	find(experimentVariable)
	for _, p := range panels {
		labels := append(find(p.metric).Labels, "instance", "job")
		require.Contains(t, p.query(), p.metric)
		var used []string
		for _, m := range by.FindAllStringSubmatch(p.query(), -1) {
			used = append(used, strings.Split(m[1], ", ")...)
		}
		for _, b := range braces.FindAllString(p.query(), -1) {
			for _, m := range matcher.FindAllStringSubmatch(b, -1) {
				used = append(used, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(p.legend, -1) {
			used = append(used, m[1])
		}
		for _, l := range used {
			require.Contains(t, labels, l, "panel %s", p.title)
		}
		if p.value != "" {
			require.Contains(t, probed, p.value, "panel %s: no probe of the quickstart measures it", p.title)
		}
		require.NotEmpty(t, p.help)
	}
}
