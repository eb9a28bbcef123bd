package dataimport

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func in(name string) string { return filepath.Join("testdata", name) }

// What testdata/make.py writes is one table in many formats, and the same dataset in all of them.
func TestOneContentIsOneDataset(t *testing.T) {
	want, err := Read(in("table.npz"), Options{})
	require.NoError(t, err)
	require.Equal(t, []any{[]int{4}, 3, 24, 0, true, 8}, []any{want.Shape, want.Classes, want.Train, want.Test, want.Floats, want.Fewest})
	require.Equal(t, []float32{0, 1e-30, 3.5, -7}, want.TrainSplit.F[:4])
	require.Equal(t, []uint8{0, 1, 2, 0}, want.TrainSplit.Y[:4])
	require.Equal(t, []string{"0", "1", "2"}, want.ClassNames)
	for file, o := range map[string]Options{
		"table-compressed.npz": {},
		"table.npy":            {Target: in("labels.npy")},
		"table.csv":            {Target: "species"},
		"table.tsv.gz":         {Target: "-1"},
		"table.parquet":        {Target: "species"},
		"table.safetensors":    {},
	} {
		got, err := Read(in(file), o)
		require.NoError(t, err, file)
		require.Equal(t, want.Name, got.Name, file)
		require.Len(t, got.SHA256, 64)
	}

	want, err = Read(in("table.npy"), Options{Target: in("targets.npy"), Test: "0.25"})
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 18, 6}, []int{want.Classes, want.Targets, want.Train, want.Test})
	for _, file := range []string{"prices.csv", "prices.parquet"} {
		got, err := Read(in(file), Options{Target: "price", Test: "0.25"})
		require.NoError(t, err, file)
		require.Equal(t, want.Name, got.Name, file)
		require.Equal(t, []string{"f0", "f1", "f2", "f3"}, got.FeatureNames)
	}
}

func TestSplitOfTheFile(t *testing.T) {
	whole, err := Read(in("table.npz"), Options{})
	require.NoError(t, err)
	r, err := Read(in("split.npz"), Options{})
	require.NoError(t, err)
	require.Equal(t, []int{18, 6}, []int{r.Train, r.Test})
	require.Equal(t, whole.TrainSplit.F, append(r.TrainSplit.F, r.TestSplit.F...))
	require.Contains(t, strings.Join(r.Notes, "\n"), "not used: note")
	_, err = Read(in("split.npz"), Options{Test: "0.2"})
	require.ErrorContains(t, err, "has test examples of its own")
}

func TestHoldDrawsByContent(t *testing.T) {
	a, err := Read(in("table.csv"), Options{Test: "0.25"})
	require.ErrorContains(t, err, "say with --target")
	require.Nil(t, a)
	a, err = Read(in("table.csv"), Options{Target: "species", Test: "0.25"})
	require.NoError(t, err)
	require.Equal(t, []int{18, 6}, []int{a.Train, a.Test})
	count := map[uint8]int{}
	for _, y := range a.TestSplit.Y {
		count[y]++
	}
	require.Equal(t, map[uint8]int{0: 2, 1: 2, 2: 2}, count)
	b, err := Read(in("table.safetensors"), Options{Test: "0.25"})
	require.NoError(t, err)
	require.Equal(t, a.Name, b.Name)
}

func TestImagesWithChannelsLast(t *testing.T) {
	grey, err := Read(in("images.npz"), Options{})
	require.NoError(t, err)
	require.Equal(t, []any{[]int{5, 4}, false, 2}, []any{grey.Shape, grey.Floats, grey.Classes})
	colour, err := Read(in("colour.npz"), Options{})
	require.NoError(t, err)
	require.Equal(t, []int{3, 5, 4}, colour.Shape)
	for i := range 6 {
		for k := range 20 {
			v := grey.TrainSplit.X[20*i+k]
			require.Equal(t, []uint8{v, 255 - v, v / 2}, []uint8{colour.TrainSplit.X[60*i+k], colour.TrainSplit.X[60*i+20+k], colour.TrainSplit.X[60*i+40+k]})
		}
	}
}

func TestKinds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "wine.csv")
	require.NoError(t, os.WriteFile(file, []byte("a,quality\n1,3\n2,5\n3,3\n4,5\n5,3\n6,5\n"), 0o644))
	r, err := Read(file, Options{Target: "quality"})
	require.NoError(t, err)
	require.Equal(t, []int{0, 1}, []int{r.Classes, r.Targets})
	require.Contains(t, strings.Join(r.Notes, "\n"), "--classes takes its 2 different values for classes")
	r, err = Read(file, Options{Target: "quality", Kind: Classes})
	require.NoError(t, err)
	require.Equal(t, []string{"3", "5"}, r.ClassNames)
	r, err = Read(in("table.npz"), Options{Kind: Regression})
	require.NoError(t, err)
	require.Equal(t, []int{0, 1}, []int{r.Classes, r.Targets})
}
