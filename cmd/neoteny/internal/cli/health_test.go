package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/internal/telemetry"
)

// sick is a part that gets well while others look at it.
type sick struct {
	mu  sync.Mutex
	err error
}

func (x *sick) heal() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = nil
}

func (x *sick) now(context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// TestHealth asks as an image's health check does.
func TestHealth(t *testing.T) {
	tel := telemetry.New()
	problem := &sick{err: errors.New("waiting for etcd at etcd:2379: connection refused")}
	tel.AddReadiness("etcd", problem.now)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- telemetry.Serve(ctx, lis, tel.Handler(telemetry.HTTPConfig{})) }()
	addr := lis.Addr().String()
	health := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := Main(append([]string{"health", addr}, args...), app.Streams{Out: &out, Err: &out})
		return code, out.String()
	}
	code, out := health()
	require.Equal(t, app.ExitError, code)
	require.Equal(t, "neoteny: service at "+addr+" is not ready: etcd: waiting for etcd at etcd:2379: connection refused\n", out)
	code, out = health("--liveness")
	require.Equal(t, app.ExitOK, code, out)
	code, out = health("-o", "json")
	require.Equal(t, app.ExitError, code)
	require.Contains(t, out, `"ok": false`)
	require.Contains(t, out, `"reason": "service at `+addr+` is not ready: etcd: waiting for etcd at etcd:2379: connection refused"`)
	problem.heal()
	code, out = health("-o", "json")
	require.Equal(t, app.ExitOK, code, out)
	require.JSONEq(t, `{"address": "`+addr+`", "check": "readiness", "ok": true}`, out)
	code, out = health()
	require.Equal(t, app.ExitOK, code, out)
	require.Equal(t, "ok\n", out)
	cancel()
	require.NoError(t, <-served)
	code, out = health()
	require.Equal(t, app.ExitError, code)
	require.Contains(t, out, "cannot reach service at "+addr)
}
