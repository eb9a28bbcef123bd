package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, h http.Handler, path, accept string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

func TestMetrics(t *testing.T) {
	tel := New()
	w := NewWorker(tel)
	tel.GRPC()
	require.Same(t, tel.GRPC(), tel.GRPC())
	w.Segment(SegmentDone)
	w.Steps(250, 2*time.Second)
	w.AddSlots(2)
	busy := w.Busy()
	w.Start("warm")
	w.Retry("blob")
	w.Registered()
	w.Checkpoint(4096, time.Millisecond)

	h := tel.Handler(HTTPConfig{})
	code, body, _ := get(t, h, "/metrics", "")
	require.Equal(t, http.StatusOK, code)
	for _, line := range []string{
		`neoteny_worker_segments_total{outcome="done"} 1`,
		`neoteny_worker_segments_total{outcome="failed"} 0`,
		`neoteny_worker_steps_total 250`,
		`neoteny_worker_training_seconds_total 2`,
		`neoteny_worker_slots 2`,
		`neoteny_worker_slots_busy 1`,
		`neoteny_worker_starts_total{from="warm"} 1`,
		`neoteny_worker_retries_total{call="blob"} 1`,
		`neoteny_worker_registrations_total 1`,
		`neoteny_worker_checkpoint_size_bytes_sum 4096`,
		`neoteny_build_info{`,
		`go_goroutines `,
	} {
		require.Contains(t, body, line)
	}
	busy()
	_, body, header := get(t, h, "/metrics", "application/openmetrics-text;version=1.0.0")
	require.Contains(t, body, "neoteny_worker_slots_busy 0")
	require.Contains(t, header.Get("Content-Type"), "application/openmetrics-text")
	require.True(t, strings.HasSuffix(body, "# EOF\n"))
}

func TestMetricsAreLintClean(t *testing.T) {
	tel := New()
	NewWorker(tel)
	tel.Handler(HTTPConfig{}) // registers its own
	families, err := tel.Gatherer().Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestRegisterAddsAllOrNone(t *testing.T) {
	tel := New()
	gauge := func(name string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Help."})
	}
	require.NoError(t, tel.Register(gauge("a")))
	require.ErrorContains(t, tel.Register(gauge("b"), gauge("a")), "register metrics")
	require.NoError(t, tel.Register(gauge("b")))
}

func TestOnlyEtcdsMetricsOfTheDefaultRegistry(t *testing.T) {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_test_size", Help: "Help."})
	require.NoError(t, prometheus.DefaultRegisterer.Register(g))
	defer prometheus.DefaultRegisterer.Unregister(g)
	tel := New()
	code, _, _ := get(t, tel.Handler(HTTPConfig{}), "/metrics/etcd", "")
	require.Equal(t, http.StatusNotFound, code)
	tel = New()
	tel.GatherEtcd()
	h := tel.Handler(HTTPConfig{})
	code, body, _ := get(t, h, "/metrics/etcd", "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "etcd_test_size 0")
	require.NotContains(t, body, "go_goroutines")
	_, body, _ = get(t, h, "/metrics", "")
	require.NotContains(t, body, "etcd_test_size")
}

type brokenCollector struct{ desc *prometheus.Desc }

func (c brokenCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }
func (c brokenCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(c.desc, errors.New("out of order"))
}

func TestABrokenCollectorDoesNotHideTheOthers(t *testing.T) {
	tel := New()
	require.NoError(t, tel.Register(brokenCollector{prometheus.NewDesc("broken", "Help.", nil, nil)}))
	var log bytes.Buffer
	code, body, _ := get(t, tel.Handler(HTTPConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}), "/metrics", "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "neoteny_build_info")
	require.Contains(t, log.String(), "out of order")
}

func TestHealthAndReadiness(t *testing.T) {
	tel := New()
	h := tel.Handler(HTTPConfig{})
	code, body, _ := get(t, h, "/readyz", "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ready\n", body)

	broken := errors.New("connection refused")
	tel.AddReadiness("etcd", func(context.Context) error { return broken })
	tel.AddReadiness("blob", func(context.Context) error { return nil })
	code, body, _ = get(t, h, "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "not ready\netcd: not ready: connection refused\nblob: ok\n", body)
	code, _, _ = get(t, h, "/healthz", "")
	require.Equal(t, http.StatusOK, code, "alive all the same")

	broken = nil
	code, _, _ = get(t, h, "/readyz", "")
	require.Equal(t, http.StatusOK, code)
}

func TestReadinessDoesNotWaitForAStuckCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := New()
		free := make(chan struct{})
		defer close(free)
		tel.AddReadiness("stuck", func(context.Context) error { <-free; return nil })
		tel.AddReadiness("fine", func(context.Context) error { return nil })
		begin := time.Now()
		got := tel.Ready(t.Context())
		require.Equal(t, checkTimeout, time.Since(begin))
		require.ErrorContains(t, got[0].Err, "no answer")
		require.NoError(t, got[1].Err)
	})
}

func TestPprofOnlyWhenAsked(t *testing.T) {
	code, _, _ := get(t, New().Handler(HTTPConfig{}), "/debug/pprof/", "")
	require.Equal(t, http.StatusNotFound, code)
	code, _, _ = get(t, New().Handler(HTTPConfig{Pprof: true}), "/debug/pprof/", "")
	require.Equal(t, http.StatusOK, code)
}

func TestServe(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	entered, finish := make(chan struct{}), make(chan struct{})
	mux := New().Handler(HTTPConfig{})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	go func() { served <- Serve(ctx, lis, mux) }()
	body := make(chan string, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		r, err := client.Get("http://" + lis.Addr().String() + "/slow")
		if err != nil {
			body <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		body <- string(b)
	}()
	<-entered
	stop()
	close(finish)
	require.Equal(t, "done", <-body, "a request under way may finish")
	require.NoError(t, <-served)
}

func TestServeReportsABrokenListener(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, lis.Close())
	require.ErrorContains(t, Serve(t.Context(), lis, http.NewServeMux()), "serve HTTP on")
}

func TestStepsMadeAreCountedForProgress(t *testing.T) {
	w := NewWorker(New())
	w.Steps(3, time.Second)
	w.Steps(4, time.Second)
	require.EqualValues(t, 7, w.StepsMade())
}

func TestRegistererWithTellsPartsApart(t *testing.T) {
	tel := New()
	for _, id := range []string{"0", "1"} {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "part", Help: "Help."})
		require.NoError(t, tel.RegistererWith("worker", id).Register(g))
	}
	_, body, _ := get(t, tel.Handler(HTTPConfig{}), "/metrics", "")
	require.Contains(t, body, `part{worker="0"} 0`)
	require.Contains(t, body, `part{worker="1"} 0`)
}
