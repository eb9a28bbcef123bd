package datastore

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"neoteny/pkg/engine/data"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a dataset of a few bytes in the place of mnist.
type fake struct {
	meta    data.Meta
	content map[string][]byte // by file name without .gz
}

func newFake() *fake {
	f := &fake{
		meta:    data.Meta{Name: "fake", Title: "Fake", Shape: []int{1, 2}, Classes: 2, Train: 2, Test: 1},
		content: map[string][]byte{},
	}
	for _, c := range []struct {
		name   string
		dims   []int
		values []uint8
	}{
		{"train-images-idx3-ubyte", []int{2, 1, 2}, []uint8{1, 2, 3, 4}},
		{"train-labels-idx1-ubyte", []int{2}, []uint8{0, 1}},
		{"t10k-images-idx3-ubyte", []int{1, 1, 2}, []uint8{5, 6}},
		{"t10k-labels-idx1-ubyte", []int{1}, []uint8{1}},
	} {
		b := data.AppendIDX(nil, c.dims, c.values)
		sum := sha256.Sum256(b)
		f.content[c.name] = b
		f.meta.Files = append(f.meta.Files, data.File{Name: c.name + ".gz", SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(b))})
	}
	return f
}

func compress(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// write puts the files into a folder, compressed.
func (f *fake) write(t *testing.T, folder string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for name, b := range f.content {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name+".gz"), compress(b), 0o644))
	}
}

// store returns a store of an empty data folder whose catalogue is the fake, without origins.
func (f *fake) store(t *testing.T) *store {
	s := newStore(filepath.Join(t.TempDir(), "data"), slog.New(slog.DiscardHandler))
	s.catalogue = []data.Meta{f.meta}
	s.origins = map[string]origin{}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// requireImported checks that the data folder holds the fake, readable by the engine, and nothing else.
func requireImported(t *testing.T, s *store, f *fake) {
	t.Helper()
	require.NoError(t, s.verify("fake"))
	ds, err := data.NewDir(s.dir, f.meta).Load("fake")
	require.NoError(t, err)
	require.Equal(t, []uint8{1, 2, 3, 4}, ds.TrainSplit.X)
	require.Equal(t, []uint8{1}, ds.TestSplit.Y)
	require.Len(t, tree(t, s.dir), 4)
	for _, path := range tree(t, s.dir) {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o644), info.Mode().Perm())
	}
}

// tree lists the files below dir, temporary ones included.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d != nil && !d.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	require.NoError(t, err)
	return files
}
