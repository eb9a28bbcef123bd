package datastore

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/data"
)

func TestStatusAndVerify(t *testing.T) {
	f := newFake()
	s := f.store(t)
	folder := filepath.Join(s.dir, "fake")

	require.ErrorIs(t, s.verify("nothing"), data.ErrUnknown)
	var missing *data.MissingError
	require.ErrorAs(t, s.verify("fake"), &missing)
	st := s.status()[0]
	require.Equal(t, DatasetStatus{
		Name: "fake", Title: "Fake", State: Missing, Digest: f.meta.Digest(),
		Problem: "dataset fake is missing from data folder " + s.dir + ": run `neoteny data import fake`",
	}, st)

	f.write(t, folder)
	require.NoError(t, s.verify("fake"))
	st = s.status()[0]
	require.Equal(t, Present, st.State)
	require.Empty(t, st.Problem)
	size := int64(0)
	for _, path := range tree(t, s.dir) {
		info, err := os.Stat(path)
		require.NoError(t, err)
		size += info.Size()
	}
	require.Equal(t, size, st.Bytes)

	// Damage is reported rather than absence, whichever file comes first.
	require.NoError(t, os.Remove(filepath.Join(folder, "train-images-idx3-ubyte.gz")))
	require.NoError(t, os.Truncate(filepath.Join(folder, "t10k-labels-idx1-ubyte.gz"), 20))
	var corrupt *data.CorruptError
	require.ErrorAs(t, s.verify("fake"), &corrupt)
	require.Equal(t, filepath.Join(folder, "t10k-labels-idx1-ubyte.gz"), corrupt.File)
	st = s.status()[0]
	require.Equal(t, Corrupt, st.State)
	require.Contains(t, st.Problem, "t10k-labels")

	require.NoError(t, os.Remove(filepath.Join(folder, "t10k-labels-idx1-ubyte.gz")))
	require.Equal(t, Missing, s.status()[0].State)
}

func TestAFolderThatMayNotBeReadIsNotCorrupt(t *testing.T) {
	err := unfit("fake", "/data/fake/x.gz", &fs.PathError{Op: "open", Path: "/data/fake/x.gz", Err: syscall.EACCES})
	require.EqualError(t, err, "dataset fake cannot be read: open /data/fake/x.gz: permission denied: change the permissions of the data folder, or name another one with --data")
	require.Equal(t, Unreadable, StateOf(err))
	require.Equal(t, Corrupt, StateOf(unfit("fake", "/data/fake/x.gz", errors.New("not gzip"))))
	require.NoError(t, Access(t.TempDir(), "mnist"), "missing is no lack of permission")
	require.NoError(t, Access(t.TempDir(), "mnits"))
	if os.Geteuid() == 0 {
		return // root may read everything
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mnist"), 0))
	require.ErrorIs(t, Access(dir, "mnist"), fs.ErrPermission)
	f := newFake()
	s := f.store(t)
	folder := filepath.Join(s.dir, "fake")
	f.write(t, folder)
	require.NoError(t, os.Chmod(folder, 0))
	defer func() { require.NoError(t, os.Chmod(folder, 0o755)) }()
	require.Equal(t, Unreadable, s.status()[0].State)
	require.ErrorIs(t, s.ensure(t.Context(), []string{"fake"}), fs.ErrPermission)
}

func TestEnsure(t *testing.T) {
	f := newFake()
	s, folder := f.store(t), t.TempDir()
	s.origins["fake"] = origin{folder: folder}

	require.NoError(t, s.ensure(t.Context(), nil))
	require.ErrorIs(t, s.ensure(t.Context(), []string{"fake", "nothing"}), data.ErrUnknown)
	require.Empty(t, tree(t, s.dir), "nothing is imported when a name is wrong")

	require.ErrorContains(t, s.ensure(t.Context(), []string{"fake"}), "`neoteny data import fake --from FOLDER`")

	f.write(t, folder)
	require.NoError(t, s.ensure(t.Context(), []string{"fake", "fake"}))
	requireImported(t, s, f)

	// Altered data are not replaced without being asked to.
	altered := filepath.Join(s.dir, "fake", "t10k-labels-idx1-ubyte.gz")
	require.NoError(t, os.WriteFile(altered, []byte("mine"), 0o644))
	var corrupt *data.CorruptError
	err := s.ensure(t.Context(), []string{"fake"})
	require.ErrorAs(t, err, &corrupt)
	require.ErrorContains(t, err, "run `neoteny data import fake`")
	b, err := os.ReadFile(altered)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
	require.NoError(t, s.importDataset(t.Context(), "fake", ""))
	requireImported(t, s, f)
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("NEOTENY_DATA", "/some/folder")
	dir, err := DefaultDir()
	require.NoError(t, err)
	require.Equal(t, "/some/folder", dir)

	t.Setenv("NEOTENY_DATA", "")
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir, err = DefaultDir()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(cache, "neoteny", "data"), dir)
}

// The exported functions over the real catalogue and an empty folder, without any network.
func TestExported(t *testing.T) {
	dir := t.TempDir()
	names := []string{}
	for _, st := range Status(dir) {
		names = append(names, st.Name)
		require.Equal(t, Missing, st.State)
		_, known := origins()[st.Name]
		require.True(t, known, "%s has no origin", st.Name)
	}
	require.Equal(t, []string{"breast-cancer", "cifar-10", "cifar-100", "co2", "diabetes", "digits", "emnist-balanced", "fashion-mnist", "iris", "mnist", "sunspots", "wine"}, names)
	require.Equal(t, names, Lacking(dir))
	meta, _ := data.Lookup("mnist")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mnist"), 0o755))
	for i, f := range meta.Files {
		require.Contains(t, Lacking(dir), "mnist", "with %d files of %d", i, len(meta.Files))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "mnist", f.Name), nil, 0o644))
	}
	require.NotContains(t, Lacking(dir), "mnist")
	require.Contains(t, Lacking(dir), "fashion-mnist")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "mnist")))
	var missing *data.MissingError
	require.ErrorAs(t, Verify(dir, "mnist"), &missing)
	log := slog.New(slog.DiscardHandler)
	require.ErrorIs(t, Import(t.Context(), "mnits", "", dir, log), data.ErrUnknown)
	require.ErrorIs(t, Ensure(t.Context(), []string{"mnits"}, dir, log), data.ErrUnknown)
	require.ErrorContains(t, Import(t.Context(), "mnist", t.TempDir(), dir, log), "has no file train-images-idx3-ubyte.gz")
}
