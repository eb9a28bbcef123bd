package wiring

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

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
)

// trouble is an error that a test fixes while others look at it.
type trouble struct {
	mu  sync.Mutex
	err error
}

func (x *trouble) fix() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = nil
}

func (x *trouble) now(context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

func TestAwaitGoesOnUntilTheNeedIsMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, log := telemetry.New(), &bytes.Buffer{}
		broken := &trouble{err: &fs.PathError{Op: "mkdir", Path: "/srv", Err: fs.ErrPermission}}
		later := &trouble{err: errors.New("gone again")}
		var reported []string
		done := make(chan error, 1)
		go func() {
			done <- Await(t.Context(), slog.New(slog.NewTextHandler(log, nil)), tel, Need{
				Name: "folder", Open: broken.now, Final: NotOfTheFolder,
				Problem: func(_ context.Context, err error) { reported = append(reported, err.Error()) },
				Ready:   later.now,
			})
		}()
		time.Sleep(5*needPause + needPause/2)
		synctest.Wait()
		require.Equal(t, "folder: mkdir /srv: permission denied", tel.NotReady(t.Context()))
		require.Len(t, reported, 6)
		require.Equal(t, "folder: mkdir /srv: permission denied", reported[0])
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("permission denied")), "the same thing is said once: %s", log)
		broken.fix()
		require.NoError(t, <-done)
		require.Equal(t, "folder: gone again", tel.NotReady(t.Context()))
		later.fix()
		require.Empty(t, tel.NotReady(t.Context()))
	})
}

func TestAwaitEndsWhereWaitingIsOfNoUse(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	wrong := errors.New("unknown scheme")
	require.ErrorIs(t, Await(t.Context(), log, telemetry.New(), Need{Name: "x", Open: func(context.Context) error { return wrong }, Final: NotOfTheFolder}), wrong)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(app.ErrInterrupted)
	require.ErrorIs(t, Await(ctx, log, telemetry.New(), Need{Name: "x", Open: func(context.Context) error { return wrong }}), app.ErrInterrupted)
}

func TestAWorkerSaysThatRunsAreOfAnotherNumericsVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tel, log := telemetry.New(), &bytes.Buffer{}
		var version atomic.Int32
		go CompareNumerics(ctx, slog.New(slog.NewTextHandler(log, nil)), tel, func(context.Context) (int32, error) {
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
	require.NoError(t, Writable(filepath.Join(dir, "a", "b")))
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, Writable(filepath.Join(file, "c")), "cannot be made")
	entries, err := os.ReadDir(filepath.Join(dir, "a", "b"))
	require.NoError(t, err)
	require.Empty(t, entries, "the probe is gone")
}

func TestLacks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Lacks(dir, nil))
	require.ErrorContains(t, Lacks(dir, []string{"mnist"}), "neoteny data import mnist")
	require.ErrorContains(t, Lacks(dir, []string{"mnits"}), "no dataset is called mnits")
}
