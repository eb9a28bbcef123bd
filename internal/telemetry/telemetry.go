// Package telemetry is how a process shows itself to its operators: the
// metrics of its services and an HTTP server with /metrics, /healthz and
// /readyz. Together with services/metrics it is the only package that imports
// Prometheus; services get the structs of this package and call their methods.
package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
)

// Telemetry holds a process's metrics and readiness checks. Its registry is
// its own, so that tests and several services of one process do not meet in a
// global. Methods may be called concurrently.
type Telemetry struct {
	registry *prometheus.Registry
	grpc     func() *GRPC

	mu     sync.Mutex
	checks []check
	etcd   bool
}

type check struct {
	name  string
	ready func(context.Context) error
}

// New makes a registry with the metrics of the Go runtime, the process and the
// build.
func New() *Telemetry {
	t := &Telemetry{registry: prometheus.NewRegistry()}
	t.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(),
	)
	t.grpc = sync.OnceValue(func() *GRPC {
		g := &GRPC{grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(
			grpcprom.WithHistogramBuckets(prometheus.ExponentialBuckets(0.0005, 4, 9))))}
		t.registry.MustRegister(g.m)
		return g
	})
	return t
}

// buildInfo is the constant 1 labelled with what the process is made of.
func buildInfo() prometheus.Collector {
	version, revision := "unknown", "unknown"
	if bi, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(bi.Main.Version, version)
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "neoteny_build_info",
		Help:        "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "go_version": runtime.Version(), "arch": runtime.GOARCH},
	})
	g.Set(1)
	return g
}

// Register adds collectors to /metrics. It fails where a metric of the same
// name is there already, and then adds none of them.
func (t *Telemetry) Register(cs ...prometheus.Collector) error {
	for i, c := range cs {
		if err := t.registry.Register(c); err != nil {
			for _, c := range cs[:i] {
				t.registry.Unregister(c)
			}
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// mustRegister registers the metrics of this package's structs: a clash of
// names is a mistake in this package or a struct made twice.
func (t *Telemetry) mustRegister(cs ...prometheus.Collector) {
	t.registry.MustRegister(cs...)
}

// Registerer gives services/metrics, which makes collectors of its own, the
// registry.
func (t *Telemetry) Registerer() prometheus.Registerer { return t.registry }

// RegistererWith is Registerer for one of several parts of a kind in a process,
// told apart by a label.
func (t *Telemetry) RegistererWith(label, value string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{label: value}, t.registry)
}

// Gatherer gives the registry to those who read it, such as tests.
func (t *Telemetry) Gatherer() prometheus.Gatherer { return t.registry }

// GatherEtcd also serves the metrics of the embedded etcd, at /metrics/etcd: it
// registers them on the default registry, and by other naming rules.
func (t *Telemetry) GatherEtcd() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.etcd = true
}

// etcdMetrics are those of the default registry that are etcd's.
var etcdMetrics = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool {
		return !strings.HasPrefix(f.GetName(), "etcd_")
	}), err
})

// AddReadiness adds a condition for /readyz: ready returns why the process
// cannot do its work now, or nil. It is called at each request, with a deadline
// of a few seconds.
func (t *Telemetry) AddReadiness(name string, ready func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checks = append(t.checks, check{name: name, ready: ready})
}

// Status is the outcome of one readiness check; Err is nil when it passed.
type Status struct {
	Name string
	Err  error
}

// checkTimeout bounds a readiness check; kubelets give up after a second or so
// by default, and then do not see the reason.
const checkTimeout = 900 * time.Millisecond

// Ready runs every readiness check at once and returns the outcomes in the
// order in which they were added.
func (t *Telemetry) Ready(ctx context.Context) []Status {
	t.mu.Lock()
	checks := slices.Clone(t.checks)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out := make([]Status, len(checks))
	results := make([]chan error, len(checks))
	for i, c := range checks {
		results[i] = make(chan error, 1)
		go func() { results[i] <- c.ready(ctx) }()
	}
	for i, c := range checks {
		out[i].Name = c.name
		select {
		case out[i].Err = <-results[i]:
		case <-ctx.Done(): // the check does not heed its context
			select {
			case out[i].Err = <-results[i]:
			default:
				out[i].Err = fmt.Errorf("no answer within %v", checkTimeout)
			}
		}
	}
	return out
}

// GRPC measures the calls of the process's gRPC servers; it is an rpc.Metrics.
type GRPC struct{ m *grpcprom.ServerMetrics }

// GRPC returns the measures of gRPC calls, the same for all servers of the
// process.
func (t *Telemetry) GRPC() *GRPC { return t.grpc() }

// UnaryServerInterceptor counts and times calls.
func (g *GRPC) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	return g.m.UnaryServerInterceptor()
}

// StreamServerInterceptor counts and times streams and their messages.
func (g *GRPC) StreamServerInterceptor() grpc.StreamServerInterceptor {
	return g.m.StreamServerInterceptor()
}

// Initialize makes the series of every method of srv start at 0 instead of
// with the first call. Call it once the services are registered.
func (g *GRPC) Initialize(srv *grpc.Server) { g.m.InitializeMetrics(srv) }
