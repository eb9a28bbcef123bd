package metrics

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// liveService is a service with a clock of its own and its registry.
func liveService(t *testing.T, cfg Config) (*Service, *prometheus.Registry, *time.Time) {
	t.Helper()
	now := time.Unix(1_000_000, 0)
	cfg.Dir = t.TempDir()
	s, err := New(Deps{Logger: discard(), Now: func() time.Time { return now }}, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(s))
	return s, reg, &now
}

func measured(id, arm string, first int64, accuracy, dormant float32) *pb.MetricBatch {
	return &pb.MetricBatch{Run: id, Arm: arm, FirstStep: first, NSteps: 2, Columns: []*pb.MetricColumn{
		{Metric: "online_accuracy", Values: []float32{accuracy - 0.25, accuracy + 0.25}},
		{Metric: "dormant_fraction", Layer: "1", Offsets: []uint32{0, 1}, Values: []float32{9, dormant}},
	}}
}

func TestLiveView(t *testing.T) {
	s, reg, now := liveService(t, Config{FinishedGrace: time.Minute, IdleGrace: time.Hour})
	durable(t, s, 2, measured("e/t1/0", "backprop", 0, 0.5, 0.1))
	durable(t, s, 2, measured("e/t1/1", "backprop", 0, 0.75, 0.3))
	durable(t, s, 2, measured("e/t2/0", "l2", 0, 1, 0))
	want := `
# HELP neoteny_arm_metric Mean of the live view of a metric over the shown runs of an arm whose value is finite.
# TYPE neoteny_arm_metric gauge
neoteny_arm_metric{arm="backprop",experiment="e",layer="",metric="online_accuracy"} 0.625
neoteny_arm_metric{arm="backprop",experiment="e",layer="1",metric="dormant_fraction"} 0.20000000670552254
neoteny_arm_metric{arm="l2",experiment="e",layer="",metric="online_accuracy"} 1
neoteny_arm_metric{arm="l2",experiment="e",layer="1",metric="dormant_fraction"} 0
# HELP neoteny_run_steps_total Steps of a run that are durable.
# TYPE neoteny_run_steps_total counter
neoteny_run_steps_total{arm="backprop",experiment="e",run="e/t1/0",trial="t1"} 2
neoteny_run_steps_total{arm="backprop",experiment="e",run="e/t1/1",trial="t1"} 2
neoteny_run_steps_total{arm="l2",experiment="e",run="e/t2/0",trial="t2"} 2
`
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(want), "neoteny_arm_metric", "neoteny_run_steps_total"))
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)

	count := func() int {
		n, err := testutil.GatherAndCount(reg, "neoteny_run_metric")
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 6, count())
	require.True(t, send(t, s, &pb.MetricBatch{Run: "e/t2/0", FirstStep: 2, Last: true}).Complete)
	*now = now.Add(time.Minute)
	require.Equal(t, 6, count(), "a finished run stays for the grace")
	*now = now.Add(time.Second)
	require.Equal(t, 4, count())
	durable(t, s, 4, measured("e/t1/0", "backprop", 2, 0.5, 0.1))
	*now = now.Add(time.Hour - 30*time.Second)
	require.Equal(t, 2, count(), "a silent run goes")
	require.NoError(t, s.Delete("e"))
	require.Zero(t, count())
	require.Zero(t, s.live.shown)
}

func TestLiveViewIsCapped(t *testing.T) {
	s, reg, now := liveService(t, Config{MaxLiveSeries: 4, IdleGrace: time.Hour})
	gauge := func(name string) float64 {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == name {
				return f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no %s", name)
		return 0
	}
	for i := range 3 {
		durable(t, s, 2, measured(fmt.Sprintf("e/t/%d", i), "a", 0, 1, 1))
	}
	// Run 0 has its three, run 1 its step counter, run 2 nothing.
	require.EqualValues(t, 4, gauge("neoteny_metrics_live_series"))
	require.EqualValues(t, 2+3, gauge("neoteny_metrics_dropped_series"))
	require.Equal(t, sent(0, 0), values{}, "nothing stored is dropped")
	require.Len(t, stored(t, s, "e/t/2", "")[metric.Column{Metric: "online_accuracy"}], 2)
	*now = now.Add(59 * time.Minute)
	durable(t, s, 4, measured("e/t/2", "a", 2, 1, 1))
	*now = now.Add(2 * time.Minute)
	durable(t, s, 6, measured("e/t/2", "a", 4, 1, 1))
	require.EqualValues(t, 3, gauge("neoteny_metrics_live_series"), "room that others left is taken")
	require.Zero(t, gauge("neoteny_metrics_dropped_series"))
}

func TestLiveValue(t *testing.T) {
	dense := func(v *liveValue, values ...float32) float64 {
		v.take(metric.Series{Values: values})
		return v.mean
	}
	var v liveValue
	require.InDelta(t, 2, dense(&v, 1, 2, 3), 1e-12, "a plain mean at first")
	ones := make([]float32, 20*liveWindow)
	for i := range ones {
		ones[i] = 1
	}
	require.InDelta(t, 1, dense(&v, ones...), 1e-6, "then it forgets")
	require.InDelta(t, 1+1./liveWindow, dense(&v, 2), 1e-6)
	require.True(t, math.IsNaN(dense(&v, float32(math.NaN()))), "a run that diverged shows it")
	require.InDelta(t, 3, dense(&v, 3), 1e-12)
	v.take(metric.Series{Offsets: []uint32{1, 5}, Values: []float32{7, 8}})
	require.InDelta(t, 8, v.mean, 0, "the latest of what is measured now and then")
}

func TestServiceCounters(t *testing.T) {
	s, reg, _ := liveService(t, Config{})
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	durable(t, s, 12, batchOf(run, 1, 5, 7))
	require.True(t, send(t, s, batchOf(run, 1, 20, 5)).Gap)
	want := map[string]float64{
		"batches_total": 3, "refused_batches_total": 1, "values_total": 12 + 4, "steps_total": 12, "duplicate_steps_total": 5,
		"log_bytes_total": float64(mustSize(t, s.store.path(metric.Track{Run: run, Name: metric.MainTrack})+logExt) - int64(len(logMagic))),
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "neoteny_metrics_")
		if v, ok := want[name]; ok {
			require.InDelta(t, v, f.Metric[0].GetCounter().GetValue(), 0, name)
			delete(want, name)
		}
		if name == "sync_duration_seconds" {
			h := f.Metric[0].GetHistogram()
			require.EqualValues(t, 2, h.GetSampleCount())
			require.NotEmpty(t, h.GetBucket(), "classic buckets")
			require.NotZero(t, h.GetSchema(), "native buckets")
		}
	}
	require.Empty(t, want)
}
