//go:build integration

// Package data_test imports the real datasets that can be had without asking from where users get them. It needs the go tool with its module
// proxy or cache, and Debian's package dataset-fashion-mnist.
// The tables of python3-sklearn and python3-statsmodels are taken from below the folder NEOTENY_PACKAGES, where the
// packages were unpacked, or from where the packages put them.
package data_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
)

func TestImportDatasetsMadeOfTables(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	source := data.NewDir(dir)
	root := os.Getenv("NEOTENY_PACKAGES")
	folders := map[string]string{
		"breast-cancer": "sklearn/datasets/data", "diabetes": "sklearn/datasets/data", "digits": "sklearn/datasets/data", "iris": "sklearn/datasets/data",
		"wine": "sklearn/datasets/data", "co2": "statsmodels/datasets/co2", "sunspots": "statsmodels/datasets/sunspots",
	}
	for name, folder := range folders {
		from := ""
		if root != "" {
			from = filepath.Join(root, "usr/lib/python3/dist-packages", folder)
		}
		require.NoError(t, datastore.Import(t.Context(), name, from, dir, log))
		require.NoError(t, datastore.Verify(dir, name))
		d, err := source.Load(name)
		require.NoError(t, err)
		require.Equal(t, d.Train, d.TrainSplit.N)
		require.True(t, d.Floats)
	}
}

func TestImportEveryDataset(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	source := data.NewDir(dir)
	for _, name := range []string{"mnist", "fashion-mnist"} { // the others have to be downloaded from their publishers
		meta, ok := data.Lookup(name)
		require.True(t, ok)
		require.NoError(t, datastore.Import(t.Context(), meta.Name, "", dir, log))
		require.NoError(t, datastore.Verify(dir, meta.Name))
		d, err := source.Load(meta.Name)
		require.NoError(t, err)
		require.Len(t, d.TrainSplit.X, meta.Train*meta.Size())
		require.Len(t, d.TestSplit.Y, meta.Test)
		seen := make([]bool, meta.Classes)
		for _, y := range d.TestSplit.Y {
			seen[y] = true
		}
		require.NotContains(t, seen, false)
	}
	for _, st := range datastore.Status(dir) {
		if _, err := source.Load(st.Name); err != nil {
			require.Equal(t, datastore.Missing, st.State)
			continue
		}
		require.Equal(t, datastore.Present, st.State, st.Problem)
		require.Positive(t, st.Bytes)
	}
}
