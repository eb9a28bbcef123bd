package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"neoteny/internal/leaktest"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Where etcd finds a damaged database it would end the process; here it ends
	// the goroutine that opens it, and the one that waits for that stays.
	leaktest.Main(m, goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/storage.OpenBackend"))
}

func put(t *testing.T, s *Server, k, v string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints()})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Put(t.Context(), k, v)
	require.NoError(t, err)
}

func get(t *testing.T, s *Server, k string) string {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints()})
	require.NoError(t, err)
	defer c.Close()
	r, err := c.Get(t.Context(), k)
	require.NoError(t, err)
	require.Len(t, r.Kvs, 1)
	return string(r.Kvs[0].Value)
}

func TestKeepsDataOverRestart(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Dir: t.TempDir(), Throwaway: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	put(t, s, "k", "v")
	s.Close()

	s, err = Start(t.Context(), cfg)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "v", get(t, s, "k"))
	require.NoError(t, s.Err())
	require.Empty(t, log.String(), "a healthy server says nothing")
}

func TestLackOfAddressSpaceIsSaidPlainly(t *testing.T) {
	f := newFault()
	f.cause = fmt.Errorf("failed to open database: %w", syscall.ENOMEM)
	require.ErrorContains(t, f.explain(errors.New("etcd gave up")), "ulimit -v")
}

func TestListensOnTCP(t *testing.T) {
	s, err := Start(t.Context(), Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Throwaway: true})
	require.NoError(t, err)
	defer s.Close()
	require.NotContains(t, s.Endpoints()[0], ":0")
	put(t, s, "k", "v")
	require.Equal(t, "v", get(t, s, "k"))
}

func TestSocketOfALongPathMovesAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	s, err := Start(t.Context(), Config{Dir: dir, Throwaway: true})
	require.NoError(t, err)
	put(t, s, "k", "v")
	socket := strings.TrimPrefix(s.Endpoints()[0], "unix://")
	require.FileExists(t, filepath.Join(dir, "member", "snap", "db"))
	require.NotContains(t, socket, dir)
	s.Close()
	require.NoDirExists(t, filepath.Dir(socket))
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Dir: dir, Throwaway: true})
	require.NoError(t, err)
	defer s.Close()
	_, err = Start(t.Context(), Config{Dir: dir, Throwaway: true})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, dir)

	// The same when only etcd's own lock is there.
	require.NoError(t, os.Remove(filepath.Join(dir, lockName)))
	_, err = Start(t.Context(), Config{Dir: dir, Throwaway: true})
	require.ErrorIs(t, err, ErrLocked)
	put(t, s, "k", "v")
}

func TestFolderCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Start(t.Context(), Config{Dir: filepath.Join(file, "data")})
	require.ErrorContains(t, err, "etcd data folder "+file)
	_, err = Start(t.Context(), Config{})
	require.ErrorContains(t, err, "no data folder")
}

func TestDamagedDatabaseIsAnError(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Dir: dir, Throwaway: true})
	require.NoError(t, err)
	put(t, s, "k", "v")
	s.Close()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "member", "snap", "db"), bytes.Repeat([]byte("x"), 1<<16), 0o600))
	_, err = Start(t.Context(), Config{Dir: dir, Throwaway: true})
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, "open database")
}

func TestPortInUse(t *testing.T) {
	a, err := Start(t.Context(), Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Throwaway: true})
	require.NoError(t, err)
	defer a.Close()
	addr := strings.TrimPrefix(a.Endpoints()[0], "http://")
	_, err = Start(t.Context(), Config{Dir: t.TempDir(), Listen: addr, Throwaway: true})
	require.ErrorContains(t, err, "address already in use")
}
