package datastore

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/data"
)

func tiny(first float32) *data.Dataset {
	return &data.Dataset{Meta: data.Meta{Shape: []int{1}, Floats: true, Targets: 1}, TrainSplit: data.Split{N: 2, F: []float32{first, 2}, T: []float32{3, 4}}}
}

func TestAddIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "own"), nil, 0o644)) // where the folder would be
	require.Error(t, AddOwn(dir, tiny(1), &Own{Name: "x"}))
	for _, name := range []string{"../x", "/x", "mnist", "X", "", "a+b", "own:x"} {
		dir := t.TempDir()
		if name != "" {
			require.Error(t, AddOwn(dir, tiny(1), &Own{Name: name}), name)
		}
		require.NoDirExists(t, filepath.Join(dir, "own"))
	}

	dir = t.TempDir()
	require.NoError(t, AddOwn(dir, tiny(1), &Own{Name: "x"}))
	entries, err := os.ReadDir(filepath.Join(dir, "own"))
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

func TestOwnDatasetsByName(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadOwn(dir, "a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, AddOwn(dir, tiny(1), &Own{Name: "a"}))
	require.NoError(t, AddOwn(dir, tiny(1), &Own{Name: "a"}), "the same again")
	require.NoError(t, AddOwn(dir, tiny(1), &Own{Name: "b"}), "the same under another name")
	require.ErrorContains(t, AddOwn(dir, tiny(5), &Own{Name: "a"}), "of other content is there already")
	nameless := Own{}
	require.NoError(t, AddOwn(dir, tiny(5), &nameless))

	list, err := ListOwn(dir)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, []string{"a", "b", ""}, []string{list[0].Name, list[1].Name, list[2].Name})
	require.Equal(t, list[0].Ref, list[1].Ref)
	require.NoError(t, Verify(dir, list[0].Ref))
	require.NoError(t, Ensure(t.Context(), []string{list[0].Ref, nameless.Ref}, dir, nil))
	states, err := StatusOwn(dir)
	require.NoError(t, err)
	require.Equal(t, Present, states[0].State)

	require.NoError(t, RemoveOwn(dir, "a"))
	require.NoError(t, Verify(dir, list[1].Ref), "b has the same content")
	require.NoError(t, RemoveOwn(dir, "b"))
	require.ErrorAs(t, Verify(dir, list[1].Ref), new(*data.MissingError))
	require.ErrorAs(t, Ensure(t.Context(), []string{list[1].Ref}, dir, nil), new(*data.MissingError))
	m, err := nameless.Meta()
	require.NoError(t, err)
	require.NoError(t, RemoveOwn(dir, m.Digest()[:8]))
	require.ErrorContains(t, RemoveOwn(dir, "b"), "there is no dataset")
	entries, err := os.ReadDir(filepath.Join(dir, "own"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestDamagedRecordsAreNamed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, AddOwn(dir, tiny(1), &Own{Name: "good"}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "own", "bad.json"), []byte("{"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "own", "lies.json"), []byte(`{"name": "other", "ref": "own:x"}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "own", "0123.safetensors"), []byte("x"), 0o644))
	list, err := ListOwn(dir)
	require.Len(t, list, 1)
	require.ErrorContains(t, err, "bad.json is damaged")
	require.ErrorContains(t, err, "lies.json is damaged")
	require.ErrorContains(t, err, "0123.safetensors is damaged")
}
