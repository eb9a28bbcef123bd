package blob

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// limitFiles makes writes beyond so many bytes of any file fail, as on a disk
// that fills up in the middle of one, and returns what ends that.
func limitFiles(t *testing.T, bytes uint64) (end func()) {
	t.Helper()
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	signal.Ignore(syscall.SIGXFSZ)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: old.Max}))
	return func() {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
		signal.Reset(syscall.SIGXFSZ)
	}
}

func TestAWriteThatFailsLeavesTheObjectThatWasThere(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(t.Context(), dir)
	require.NoError(t, err)
	defer b.Close()
	data := bytes.Repeat([]byte("checkpoint"), 1_600_000)
	ref, err := b.Put(t.Context(), "there", data)
	require.NoError(t, err)

	// Far more than the log that go test itself keeps of a test's file accesses.
	end := limitFiles(t, 8<<20)
	// A worker that does a segment again writes the checkpoint under the same key.
	_, again := b.Put(t.Context(), "there", data)
	_, fresh := b.Put(t.Context(), "fresh", data)
	end()
	require.ErrorIs(t, again, syscall.EFBIG)
	require.ErrorIs(t, fresh, syscall.EFBIG)

	got, err := b.Get(t.Context(), ref, int64(len(data)))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "there")}, names)
	_, err = os.Stat(filepath.Join(dir, "fresh"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
