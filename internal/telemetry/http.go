package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// HTTPConfig says what the HTTP server of a process offers.
type HTTPConfig struct {
	Logger *slog.Logger // gets errors of collectors
	Pprof  bool         // also /debug/pprof/: profiles show what the process does
}

// Handler serves /metrics (Prometheus and OpenMetrics), /metrics/etcd after
// [Telemetry.GatherEtcd], /healthz (200 as long as the process answers) and
// /readyz (503 with a line per condition that fails). Over HTTP/2 it also answers
// grpc.health.v1, so that gRPC probes need no other port and no TLS, whatever the
// API's port has. The caller may add its own paths.
func (t *Telemetry) Handler(cfg HTTPConfig) *http.ServeMux {
	opts := promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		ErrorHandling:       promhttp.ContinueOnError, // one broken collector must not hide the others
		MaxRequestsInFlight: 8,
	}
	if cfg.Logger != nil {
		opts.ErrorLog = promLog{cfg.Logger}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", t.metrics(t.registry, opts))
	t.mu.Lock()
	if t.etcd {
		mux.Handle("GET /metrics/etcd", t.metrics(etcdMetrics, opts))
	}
	t.mu.Unlock()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		code := http.StatusOK
		lines := []string{}
		for _, s := range t.Ready(r.Context()) {
			line := s.Name + ": ok"
			if s.Err != nil {
				code = http.StatusServiceUnavailable
				line = fmt.Sprintf("%s: not ready: %v", s.Name, s.Err)
			}
			lines = append(lines, line)
		}
		verdict := "ready"
		if code != http.StatusOK {
			verdict = "not ready"
		}
		answer(w, code, strings.Join(append([]string{verdict}, lines...), "\n"))
	})
	mux.Handle("POST /grpc.health.v1.Health/", t.healthHandler())
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// metrics serves g compressed where the client can read it, and counts the
// errors of collectors on the registry.
func (t *Telemetry) metrics(g prometheus.Gatherer, opts promhttp.HandlerOpts) http.Handler {
	opts.Registry = t.registry
	return promhttp.HandlerFor(g, opts)
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}

type promLog struct{ l *slog.Logger }

func (p promLog) Println(v ...any) {
	p.l.Error("collect metrics", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}

// Bounds against slow or hostile clients.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeaders    = 64 << 10 // bytes
	httpGrace     = 3 * time.Second
)

// Serve serves handler on lis until ctx is done or lis fails, and owns lis.
// Requests under way at the end get a few seconds. It returns nil after ctx was
// done.
func Serve(ctx context.Context, lis net.Listener, handler http.Handler) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC probes
	srv := &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaders,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(lis) }()
	select {
	case err := <-failed:
		srv.Close()
		return fmt.Errorf("serve HTTP on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close() // cuts off what is left
	}
	if err := <-failed; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", lis.Addr(), err)
	}
	return nil
}
