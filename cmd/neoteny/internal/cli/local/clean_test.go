package local

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/services/metrics"
)

// What is no leftover, or is in use, stays.
func TestCleanFindsLeftoversOnly(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, age time.Duration) {
		file := filepath.Join(dir, name, "file")
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte("12345"), 0o644))
		for _, p := range []string{file, filepath.Dir(file)} {
			require.NoError(t, os.Chtimes(p, time.Now().Add(-age), time.Now().Add(-age)))
		}
	}
	make("tiny-abc123", time.Hour)
	make(".git", time.Hour)
	make(".tiny-abc123.42", time.Hour)
	make(".tiny-abc123.43", time.Second)
	make(".tiny-abc123.44.old", time.Hour)
	make(".tiny-abc123.part", time.Hour)
	make(".tiny-abc123.part.old", time.Hour)
	make(".tiny-def456.part", time.Second)
	make(".tiny-def456.part.old", time.Hour) // the only results there are: put back by the next run
	make(".verify-7", time.Hour)
	for _, state := range []string{".state-tiny-1", ".state-tiny-2", "mine"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, state, "etcd"), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, state, "metrics"), 0o755))
	}
	running, err := metrics.New(metrics.Deps{}, metrics.Config{Dir: filepath.Join(dir, ".state-tiny-2", "metrics")})
	require.NoError(t, err)
	defer running.Close()

	look := func(c cleanCmd) map[string]bool {
		found, err := c.look(dir)
		require.NoError(t, err)
		out := map[string]bool{}
		for _, l := range found {
			out[filepath.Base(l.Path)] = l.InUse
		}
		return out
	}
	want := map[string]bool{
		".tiny-abc123.part": false, ".tiny-abc123.part.old": false, ".tiny-def456.part": true,
		".tiny-abc123.42": false, ".tiny-abc123.43": true, ".tiny-abc123.44.old": false, ".verify-7": false, ".state-tiny-1": false, ".state-tiny-2": true,
	}
	require.Equal(t, want, look(cleanCmd{}))
	want["mine"] = false
	require.Equal(t, want, look(cleanCmd{Kept: true}))
	bytes, _, err := sizeOf(filepath.Join(dir, ".verify-7"))
	require.NoError(t, err)
	require.EqualValues(t, 5, bytes)
}
