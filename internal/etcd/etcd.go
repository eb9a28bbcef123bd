// Package etcd runs an etcd server inside the process, for everything on one
// machine ("neoteny run", "neoteny up") and for tests. Next to
// internal/cluster it is the only package that imports etcd.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.uber.org/zap"
)

// Config says where the server keeps its data and how it is reached.
type Config struct {
	// Dir is the data folder; it is made when missing and locked while the
	// server runs.
	Dir string
	// Listen is "host:port" (port 0: any free one), without TLS; empty means a
	// Unix socket that only this user can open.
	Listen string
	// Throwaway leaves out every fsync: for data that is not needed after a crash
	// of the machine.
	Throwaway bool
	// Quota bounds the database in bytes; 0 means 2 GiB. With another one etcd reserves
	// as much address space at the start.
	Quota int64
	// Retention is how long old revisions are kept before they are compacted;
	// 0 means 10 minutes.
	Retention time.Duration
	// StartTimeout bounds the start; 0 means 30 seconds.
	StartTimeout time.Duration
	// Logger gets etcd's warnings and errors; nil drops them.
	Logger *slog.Logger
}

// Server is a running etcd.
type Server struct {
	endpoint  string
	etcd      *embed.Etcd
	lock      *os.File
	socketDir string // temporary folder of the socket, if it has one
	failed    <-chan struct{}
	log       *zap.Logger
	fault     *fault
}

// maxSocketPath is below the 104 (BSD) and 108 (Linux) bytes that a socket's
// address may have.
const maxSocketPath = 100

// Start runs a server until Close and returns when it serves. Errors name the
// folder: it cannot be written, another process has it, or etcd did not come up
// in time.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("etcd: no data folder given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("etcd data folder %s: %w", cfg.Dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	f := newFault()
	s := &Server{lock: lock, failed: f.failed, fault: f, log: newLogger(cfg.Logger, f)}
	if err := s.start(ctx, dir, cfg); err != nil {
		s.release()
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, dir string, cfg Config) error {
	listen, err := s.listenURL(dir, cfg.Listen)
	if err != nil {
		return err
	}
	timeout := cfg.StartTimeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready after %s", timeout))
	defer cancel()

	// A panic or fatal error inside etcd ends its goroutine (see newLogger), so
	// the start runs in one of its own and may never answer.
	type started struct {
		etcd *embed.Etcd
		err  error
	}
	done := make(chan started, 1)
	go func() {
		e, err := embed.StartEtcd(s.embedConfig(dir, listen, cfg))
		done <- started{e, err}
	}()
	abandon := func() {
		go func() {
			if r := <-done; r.etcd != nil {
				r.etcd.Close()
			}
		}()
	}
	select {
	case r := <-done:
		if r.err != nil {
			return s.fault.explain(r.err)
		}
		s.etcd = r.etcd
	case <-s.failed:
		return s.fault.explain(errors.New("etcd gave up"))
	case <-ctx.Done():
		abandon()
		return s.fault.explain(context.Cause(ctx))
	}

	select {
	case <-s.etcd.Server.ReadyNotify():
	case <-s.failed:
		return s.fault.explain(errors.New("etcd gave up"))
	case <-s.etcd.Server.StopNotify():
		return s.fault.explain(errors.New("etcd stopped while starting"))
	case <-ctx.Done():
		s.etcd.Close()
		return s.fault.explain(context.Cause(ctx))
	}
	if listen.Scheme == "unix" {
		s.endpoint = listen.String()
	} else {
		// Port 0 has become a real one.
		s.endpoint = "http://" + s.etcd.Clients[0].Addr().String()
	}
	return nil
}

// listenURL turns Config.Listen into what etcd wants. The socket lives in the
// data folder unless the path would be too long for a socket's address.
func (s *Server) listenURL(dir, listen string) (url.URL, error) {
	if listen != "" {
		if _, _, err := net.SplitHostPort(listen); err != nil {
			return url.URL{}, fmt.Errorf("listen address %q: %w", listen, err)
		}
		return url.URL{Scheme: "http", Host: listen}, nil
	}
	path := filepath.Join(dir, "client.sock")
	if len(path) > maxSocketPath {
		tmp, err := os.MkdirTemp("", "neoteny")
		if err != nil {
			return url.URL{}, fmt.Errorf("make a folder for the socket: %w", err)
		}
		s.socketDir = tmp
		path = filepath.Join(tmp, "client.sock")
		if len(path) > maxSocketPath {
			return url.URL{}, fmt.Errorf("no path short enough for a socket: both %s and %s are too long", dir, tmp)
		}
	}
	return url.URL{Scheme: "unix", Path: path}, nil
}

// etcd reserves 10 GiB of address space for a database with its default quota, so that
// it need not map it anew while it grows. Where address space is limited (ulimit -v,
// batch systems) that ends the start; a database of experiments is some MiB, and is
// mapped anew, in milliseconds, in the rare case that it outgrows this.
func init() { backend.InitialMmapSize = 128 << 20 }

func (s *Server) embedConfig(dir string, listen url.URL, cfg Config) *embed.Config {
	// The one member has no peers to talk to; the address is a name only.
	self := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	ec := embed.NewConfig()
	ec.Name = "neoteny"
	ec.Dir = dir
	ec.ListenPeerUrls = nil
	ec.AdvertisePeerUrls = []url.URL{self}
	ec.InitialCluster = ec.Name + "=" + self.String()
	ec.ListenClientUrls = []url.URL{listen}
	ec.AdvertiseClientUrls = []url.URL{listen}
	ec.EnableGRPCGateway = false
	// A lone member does not wait for others: short ticks make it lead at once, and
	// allow leases down to one second.
	ec.TickMs, ec.ElectionMs = 20, 200
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = orDefault(cfg.Retention, 10*time.Minute).String()
	ec.QuotaBackendBytes = orDefault(cfg.Quota, storage.DefaultQuotaBytes)
	ec.UnsafeNoFsync = cfg.Throwaway
	// The cores are busy with training: slower answers than etcd expects are no
	// news.
	ec.WarningApplyDuration = 2 * time.Second
	ec.WarningUnaryRequestDuration = 3 * time.Second
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(s.log)
	return ec
}

// Endpoints returns the addresses that clients dial.
func (s *Server) Endpoints() []string { return []string{s.endpoint} }

// Failed is closed when etcd has given up, for example because the disk is
// full; Err then says why.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err returns why etcd has given up, nil while it has not.
func (s *Server) Err() error { return s.fault.err() }

// closeTimeout bounds Close. A healthy server needs milliseconds once its
// clients are gone, and up to etcd's own limit of a few seconds while they are
// not.
const closeTimeout = 20 * time.Second

// Close stops the server and frees its folder. Clients should be closed first.
func (s *Server) Close() {
	s.fault.quiet()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.etcd.Close()
	}()
	// A server that has given up may hold locks for ever.
	limit := closeTimeout
	if s.Err() != nil {
		limit = time.Second
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	s.release()
}

func (s *Server) release() {
	if s.socketDir != "" {
		_ = os.RemoveAll(s.socketDir) // leaves litter in the temporary folder at worst
	}
	_ = s.lock.Close()
}

func orDefault[T int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
