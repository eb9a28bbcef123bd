package services

import (
	"context"
	"fmt"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
)

func init() {
	app.Register(app.Command{
		Name: "health", Help: "Ask a service whether it is ready.", Group: app.Services, Place: 5,
		New: func() any { return &healthCmd{} },
	})
}

type healthCmd struct {
	Address  string        `arg:"" optional:"" help:"HTTP address of the service: coordinator 7071, metrics service 7081, worker 7091. Default: ${default}." default:"localhost:7071" placeholder:"HOST:PORT"`
	Liveness bool          `help:"Ask only whether the process answers."`
	Timeout  time.Duration `help:"How long to wait for the answer. Default: ${default}." default:"3s" placeholder:"DURATION"`
	app.Output
}

func (healthCmd) Help() string {
	return `Calls grpc.health.v1 on the service's HTTP port, as a kubelet does; for images without a shell. Ends with 0 if the service is ready, else says why it is not and ends with 1.

  neoteny health
  neoteny health localhost:7091 -o json
  neoteny health --liveness localhost:7081`
}

func (c *healthCmd) Run(ctx context.Context, a *app.App) error {
	conn, err := rpc.Dial(c.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	service := telemetry.HealthReadiness
	if c.Liveness {
		service = telemetry.HealthLiveness
	}
	r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if c.JSON() {
		answer := map[string]any{"address": c.Address, "check": service, "ok": r.GetStatus() == healthpb.HealthCheckResponse_SERVING}
		if err != nil {
			answer["reason"] = app.Sentence(err)
		}
		if perr := a.PrintJSON(answer); perr != nil {
			return perr
		}
	}
	if err != nil {
		return err
	}
	if s := r.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s at %s is %s", service, c.Address, s)
	}
	if !c.JSON() {
		fmt.Fprintln(a.Out, "ok")
	}
	return nil
}
