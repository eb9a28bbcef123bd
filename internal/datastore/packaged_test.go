package datastore

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/data"
)

func TestRecipesAreOfTheCatalogue(t *testing.T) {
	known := origins()
	for name := range recipes() {
		m, ok := data.Lookup(name)
		require.True(t, ok, name)
		require.Equal(t, data.Container, m.Format)
		require.NotEmpty(t, known[name].install)
		require.NotEmpty(t, known[name].folder)
	}
	for _, m := range data.Catalogue() {
		if m.Format == data.Container {
			require.Contains(t, recipes(), m.Name)
		}
	}
}

func TestImportOfADatasetMadeOfTables(t *testing.T) {
	build := func(tables [][][]string) (*data.Dataset, error) { return labelled(tables[0], 1, 1, 2, 1) }
	table := "8,1,a,b\n1,0\n2,0\n3.0,0\n4,0\n5,1\n6,1\n7,1\n8,1\n"
	from := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(from, "table.csv"), []byte(table), 0o644))
	rows, err := readTable(from, "table.csv.gz") // unpacked is as good
	require.NoError(t, err)
	d, err := build([][][]string{rows})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, d.WriteContainer(&b))
	meta := d.Meta
	require.Equal(t, []int{6, 2}, []int{meta.Train, meta.Test})
	meta.Name, meta.Files = "made", []data.File{{Name: "made.safetensors", SHA256: d.Digest(), Bytes: int64(b.Len())}}

	dir := t.TempDir()
	s := newStore(dir, slog.New(slog.DiscardHandler))
	s.catalogue, s.recipes = []data.Meta{meta}, map[string]recipe{"made": {[]string{"table.csv.gz"}, build}}
	s.origins = map[string]origin{"made": {folder: filepath.Join(from, "nowhere"), install: "apt-get install tables"}}
	require.ErrorContains(t, s.importDataset(t.Context(), "made", ""), "`apt-get install tables` and then `neoteny data import made`")
	require.ErrorContains(t, s.importDataset(t.Context(), "made", t.TempDir()), "table.csv")
	require.NoError(t, s.importDataset(t.Context(), "made", from))
	require.NoError(t, s.verify("made"))
	got, err := data.NewDir(dir, meta).Load("made")
	require.NoError(t, err)
	require.Equal(t, d.TrainSplit, got.TrainSplit)

	// A copy of the container is as good; another table is not.
	other := newStore(t.TempDir(), slog.New(slog.DiscardHandler))
	other.catalogue, other.recipes, other.origins = s.catalogue, s.recipes, s.origins
	require.NoError(t, os.WriteFile(filepath.Join(from, "table.csv"), bytes.Replace([]byte(table), []byte("8,1\n"), []byte("9,1\n"), 1), 0o644))
	require.ErrorContains(t, other.importDataset(t.Context(), "made", from), "are not the published tables")
	entries, err := os.ReadDir(other.dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoError(t, other.importDataset(t.Context(), "made", filepath.Join(dir, "made")))
	require.NoError(t, other.verify("made"))
}

func TestSeriesBecomeWindows(t *testing.T) {
	d, err := co2([][][]string{{
		{"date", "co2"}, {"19990101", "1"}, {"19990108", "3"}, {"19990205", ""}, {"19990305", "4"}, {"19990402", "5"}, {"19990502", "6"},
		{"19990602", "7"}, {"19990702", "8"}, {"19990802", "9"}, {"19990902", "10"}, {"19991002", "11"}, {"19991102", "12"}, {"19991202", "13"}, {"20000102", "14"},
	}})
	require.NoError(t, err)
	require.Equal(t, []float32{2, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, d.TrainSplit.F)
	require.Equal(t, []float32{14}, d.TrainSplit.T)
	d, err = windows([]float64{0, 1, 2, 3, 4, 5, 6}, 2)
	require.NoError(t, err)
	require.Equal(t, []int{4, 1}, []int{d.TrainSplit.N, d.TestSplit.N})
	require.Equal(t, []float32{4, 5}, d.TestSplit.F)
	require.Equal(t, []float32{6}, d.TestSplit.T)
}
