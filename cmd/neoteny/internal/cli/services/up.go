package services

import (
	"context"
	"fmt"
	"log/slog"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/wiring"
)

func init() {
	app.Register(app.Command{
		Name: "up", Help: "Run a whole cluster in this process, until stopped.", Group: app.Services, Place: 1,
		New: func() any { return &upCmd{} },
	})
}

type upCmd struct {
	Workers  int      `help:"Number of workers; 0 means one per core." default:"0"`
	StateDir string   `help:"Folder of everything: experiments, checkpoints, metrics. Default: ${default}." default:".neoteny/up" placeholder:"DIR" type:"path"`
	Etcd     []string `help:"Use this etcd in place of an embedded one." placeholder:"HOST:PORT,…"`
	Blob     string   `help:"Use this blob store in place of a folder of the state folder." placeholder:"URL"`
	Pprof    bool     `help:"Offer /debug/pprof/ too."`
	wiring.Addresses
	wiring.DatasetFlags
	app.DataFlag
}

func (upCmd) Help() string {
	return `Coordinator, metrics service, workers and an embedded etcd in one process, which stays until it is stopped and goes on where it was when it is started again. Other workers may join an external --etcd and --blob.

  neoteny up
  neoteny submit recipes/quickstart.yaml --wait
  neoteny up --workers 8 --state-dir /srv/neoteny --listen :7070`
}

func (c *upCmd) Run(ctx context.Context, a *app.App) error {
	if c.Workers < 0 {
		return app.Usagef("--workers must not be negative")
	}
	dataDir, err := c.Folder()
	if err != nil {
		return err
	}
	if err := wiring.StateDir(c.StateDir); err != nil {
		return err
	}
	log := a.Logger(slog.LevelInfo)
	s, err := wiring.StartStack(ctx, log, wiring.StackConfig{
		Dir: c.StateDir, Etcd: c.Etcd, Blob: c.Blob, Data: dataDir, Workers: wiring.WorkersOr(c.Workers), Addresses: c.Addresses, Pprof: c.Pprof, Datasets: c.Limits(),
	})
	if err != nil {
		if ctx.Err() != nil && app.IsCancelled(err) {
			return nil
		}
		return err
	}
	fmt.Fprintf(a.Out, "coordinator %s\nmetrics     %s\nlive view   %s\nPrometheus  http://%s/metrics\nstate       %s\n", s.Coordinator, s.Metrics, s.LiveView(), s.HTTP, c.StateDir)
	select {
	case <-ctx.Done():
		err = nil
	case <-s.Failed:
		err = s.Err
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}
