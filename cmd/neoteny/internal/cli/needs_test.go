package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
)

// trouble is an error that a test mends while others look at it.
type trouble struct {
	mu  sync.Mutex
	err error
}

func (x *trouble) mend() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = nil
}

func (x *trouble) now(context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

func TestAwaitGoesOnUntilTheNeedIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, log := telemetry.New(), &bytes.Buffer{}
		broken := &trouble{err: &fs.PathError{Op: "mkdir", Path: "/srv", Err: fs.ErrPermission}}
		later := &trouble{err: errors.New("gone again")}
		var told []string
		done := make(chan error, 1)
		go func() {
			done <- await(t.Context(), slog.New(slog.NewTextHandler(log, nil)), tel, need{
				name: "folder", open: broken.now, final: notOfTheFolder,
				problem: func(_ context.Context, err error) { told = append(told, err.Error()) },
				ready:   later.now,
			})
		}()
		time.Sleep(5*needPause + needPause/2)
		synctest.Wait()
		require.Equal(t, "folder: mkdir /srv: permission denied", tel.NotReady(t.Context()))
		require.Len(t, told, 6)
		require.Equal(t, "folder: mkdir /srv: permission denied", told[0])
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("permission denied")), "the same thing is said once: %s", log)
		broken.mend()
		require.NoError(t, <-done)
		require.Equal(t, "folder: gone again", tel.NotReady(t.Context()))
		later.mend()
		require.Empty(t, tel.NotReady(t.Context()))
	})
}

func TestAwaitEndsWhereWaitingIsOfNoUse(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	wrong := errors.New("unknown scheme")
	require.ErrorIs(t, await(t.Context(), log, telemetry.New(), need{name: "x", open: func(context.Context) error { return wrong }, final: notOfTheFolder}), wrong)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	require.ErrorIs(t, await(ctx, log, telemetry.New(), need{name: "x", open: func(context.Context) error { return wrong }}), errInterrupted)
}

func TestAWorkerSaysThatRunsAreOfAnotherNumericsVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tel, log := telemetry.New(), &bytes.Buffer{}
		var version atomic.Int32
		go compareNumerics(ctx, slog.New(slog.NewTextHandler(log, nil)), tel, func(context.Context) (int32, error) {
			if version.Load() < 0 {
				return 0, errors.New("etcd is away")
			}
			return version.Load(), nil
		})
		look := func(v int32) string {
			version.Store(v)
			time.Sleep(2 * numericsInterval)
			synctest.Wait()
			return tel.NotReady(ctx)
		}
		require.Empty(t, look(0), "no coordinator yet")
		require.Empty(t, look(engine.NumericsVersion))
		want := fmt.Sprintf("numerics version: the coordinator makes runs of version %d, this worker has %d", engine.NumericsVersion+1, engine.NumericsVersion)
		require.Contains(t, look(engine.NumericsVersion+1), want)
		require.Contains(t, look(-1), want, "nothing new is known")
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("deploy both from one image")), "it is said once: %s", log)
		require.Empty(t, look(engine.NumericsVersion))
		cancel()
		synctest.Wait()
	})
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writable(filepath.Join(dir, "a", "b")))
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, writable(filepath.Join(file, "c")), "cannot be made")
	entries, err := os.ReadDir(filepath.Join(dir, "a", "b"))
	require.NoError(t, err)
	require.Empty(t, entries, "the probe is gone")
}

func TestLacks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, lacks(dir, nil))
	require.ErrorContains(t, lacks(dir, []string{"mnist"}), "neoteny data import mnist")
	require.ErrorContains(t, lacks(dir, []string{"mnits"}), "no dataset is called mnits")
}
