//go:build integration

// Package data_test imports the real datasets that can be had without asking from where users get them. It needs the go tool with its module
// proxy or cache, and Debian's package dataset-fashion-mnist.
package data_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
)

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
