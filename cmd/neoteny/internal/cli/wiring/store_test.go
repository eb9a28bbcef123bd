package wiring

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
)

// A worker with another blob store than the coordinator's gets no work, and its record
// says why, until it is given the right one.
func TestAWorkerWithAnotherStoreIsRefused(t *testing.T) {
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir(), Throwaway: true})
	require.NoError(t, err)
	defer server.Close()
	log := slog.New(slog.DiscardHandler)
	open := func(ctx context.Context, dir string, note *Notice) error {
		cl, bucket, err := OpenStores(ctx, StoreFlags{Etcd: server.Endpoints(), Blob: dir}, log, telemetry.New(), note)
		if err != nil {
			return err
		}
		require.NoError(t, bucket.Close())
		return cl.Close()
	}
	right, wrong := t.TempDir(), t.TempDir()
	require.NoError(t, open(t.Context(), right, nil))
	require.NoError(t, open(t.Context(), right, nil), "a coordinator that is started again")
	require.NoError(t, open(t.Context(), right, &Notice{Log: log, Record: &pb.Worker{Id: "right"}}))

	seen, err := cluster.Dial(t.Context(), server.Endpoints(), cluster.Options{})
	require.NoError(t, err)
	defer seen.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var worker sync.WaitGroup
	worker.Go(func() { _ = open(ctx, wrong, &Notice{Log: log, Record: &pb.Worker{Id: "w", Slots: 4}}) })
	problem := ""
	wctx, found := context.WithCancel(ctx)
	defer found()
	seen.Watch(wctx, func(_ int64, changes []cluster.Change) {
		for _, c := range changes {
			if c.Kind == cluster.KindWorker && !c.Deleted && c.Msg.(*pb.Worker).Problem != "" {
				problem = c.Msg.(*pb.Worker).Problem
				found()
			}
		}
	})
	cancel()
	worker.Wait()
	require.Regexp(t, `^blob store: file://.* is not the cluster's blob store, which the coordinator knows as file://`+right+`: give --blob the same store on every machine`, problem)
}
