package cli

import (
	"context"
	"fmt"
	"log/slog"
)

func init() {
	Register(Command{
		Name: "up", Help: "Run a whole cluster in this process, until stopped.", Group: Services, Place: 1,
		New: func() any { return &upCmd{} },
	})
}

type upCmd struct {
	Workers  int      `help:"Number of workers; 0 means one per core." default:"0"`
	StateDir string   `help:"Folder of everything: experiments, checkpoints, metrics. Default: ${default}." default:".neoteny/up" placeholder:"DIR" type:"path"`
	Etcd     []string `help:"Use this etcd in place of an embedded one." placeholder:"HOST:PORT,…"`
	Blob     string   `help:"Use this blob store in place of a folder of the state folder." placeholder:"URL"`
	Pprof    bool     `help:"Offer /debug/pprof/ too."`
	addresses
	dataFlag
}

func (upCmd) Help() string {
	return `Coordinator, metrics service, workers and an embedded etcd in one process, which stays until it is stopped and goes on where it was when it is started again. Other workers may join an external --etcd and --blob.

  neoteny up
  neoteny submit recipes/quickstart.yaml --wait
  neoteny up --workers 8 --state-dir /srv/neoteny --listen :7070`
}

func (c *upCmd) Run(ctx context.Context, a *app) error {
	if c.Workers < 0 {
		return usagef("--workers must not be negative")
	}
	dataDir, err := c.folder()
	if err != nil {
		return err
	}
	if err := stateDir(c.StateDir); err != nil {
		return err
	}
	log := a.logger(slog.LevelInfo)
	s, err := startStack(ctx, log, stackConfig{
		dir: c.StateDir, etcd: c.Etcd, blob: c.Blob, data: dataDir, workers: workersOr(c.Workers), addresses: c.addresses, pprof: c.Pprof,
	})
	if err != nil {
		if ctx.Err() != nil && isCancelled(err) {
			return nil
		}
		return err
	}
	fmt.Fprintf(a.Out, "coordinator %s\nmetrics     %s\nlive view   http://%s/metrics\nstate       %s\n", s.coordinator, s.metrics, s.http, c.StateDir)
	select {
	case <-ctx.Done():
		err = nil
	case <-s.failed:
		err = s.err
	}
	if cerr := s.close(); err == nil {
		err = cerr
	}
	return err
}
