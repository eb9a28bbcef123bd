package blob

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Everybody who opens a bucket finds one identity in it, however it is addressed, and
// another one in another.
func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	ids := make([]string, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			b, err := Open(t.Context(), []string{dir, "file://" + dir}[i%2])
			if err != nil {
				return
			}
			defer b.Close()
			ids[i], _ = b.Identity(t.Context())
		})
	}
	all.Wait()
	for _, id := range ids {
		require.Len(t, id, 32)
		require.Equal(t, ids[0], id)
	}
	other, err := Open(t.Context(), "mem://")
	require.NoError(t, err)
	defer other.Close()
	id, err := other.Identity(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, ids[0], id)

	require.NoError(t, os.WriteFile(filepath.Join(dir, identityKey), []byte("x"), 0o644))
	b, err := Open(t.Context(), dir)
	require.NoError(t, err)
	defer b.Close()
	_, err = b.Identity(t.Context())
	require.ErrorContains(t, err, "is not the identity of a store: delete it")
}
