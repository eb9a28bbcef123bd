package services

import (
	"context"
	"errors"
	"log/slog"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/internal/telemetry"
	"neoteny/services/metrics"
)

func init() {
	app.Register(app.Command{
		Name: "metrics", Help: "Run the metrics service.", Group: app.Services, Place: 4,
		New: func() any { return &metricsCmd{} },
	})
}

type metricsCmd struct {
	Dir    string `help:"Folder of the metrics, of this service alone." required:"" placeholder:"DIR" type:"path"`
	Listen string `help:"Address of the gRPC API. Default: ${default}." default:":7080" placeholder:"[HOST]:PORT"`
	HTTP   string `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:":7081" placeholder:"[HOST]:PORT"`
	Pprof  bool   `help:"Offer /debug/pprof/ too."`
}

func (metricsCmd) Help() string {
	return `Keeps every step's metrics: a log that is synced before it is acknowledged, a Parquet file per finished run. Its /metrics is the live view for Prometheus.

  neoteny metrics --dir /srv/neoteny/metrics`
}

func (c *metricsCmd) Run(ctx context.Context, a *app.App) error {
	log := a.Logger(slog.LevelInfo)
	lis, err := wiring.Listen(c.Listen, "--listen", false)
	if err != nil {
		return err
	}
	defer lis.Close()
	tel := telemetry.New()
	return wiring.ServeHTTP(ctx, log, tel, c.HTTP, c.Pprof, func(ctx context.Context, _ string) error {
		started := wiring.Starting(lis, tel)
		defer started()
		var svc *metrics.Service
		err := wiring.Await(ctx, log, tel, wiring.Need{Name: "metrics folder", Open: func(context.Context) (err error) {
			svc, err = metrics.New(metrics.Deps{Logger: log}, metrics.Config{Dir: c.Dir})
			return err
		}, Final: wiring.NotOfTheFolder, Ready: func(context.Context) error { return wiring.Writable(c.Dir) }})
		if err != nil {
			return err
		}
		started()
		if err := tel.Register(svc); err != nil {
			return errors.Join(err, svc.Close())
		}
		log.Info("metrics service serves", "grpc", lis.Addr().String())
		return wiring.ServeMetrics(ctx, lis, log, tel, svc)
	})
}
