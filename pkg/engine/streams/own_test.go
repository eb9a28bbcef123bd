package streams

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// own returns a dataset of floats of the given shape, with 3 classes or with 2
// targets, and a source that has it.
func own(t testing.TB, classes int, shape ...int) (*data.Dataset, data.Source) {
	t.Helper()
	d := &data.Dataset{Meta: data.Meta{Shape: shape, Floats: true, Classes: classes}}
	if classes == 0 {
		d.Targets = 2
	}
	for k, s := range []*data.Split{&d.TrainSplit, &d.TestSplit} {
		s.N = 30 - 18*k
		s.F = make([]float32, s.N*d.Size())
		rng.New(7, "features").FillNormal(s.F, uint64(k))
		for i := range s.N {
			if classes > 0 {
				s.Y = append(s.Y, uint8(i%classes))
			} else {
				s.T = append(s.T, float32(i), -float32(i))
			}
		}
	}
	require.NoError(t, d.WriteContainer(&bytes.Buffer{}))
	return d, data.Static{d.Name: d}
}

func TestStreamsShowOwnFloats(t *testing.T) {
	d, source := own(t, 3, 4)
	for _, raw := range []object{
		{"kind": "permuted"}, {"kind": "label-permuted"}, {"kind": "label-swap", "swaps": []any{2.0}}, {"kind": "images", "batch": 3.0},
		{"kind": "random-label", "examples": 9.0, "epochs": 2.0}, {"kind": "split", "classes_per_task": 1.0, "examples_per_class": 9.0},
	} {
		raw["dataset"], raw["tasks"], raw["scale"] = d.Name, 3.0, "none"
		if slices.Contains([]string{"permuted", "label-permuted", "label-swap"}, raw["kind"].(string)) {
			raw["examples_per_task"], raw["batch"] = 30.0, 3.0
		}
		if raw["batch"] == nil {
			raw["batch"] = 3.0
		}
		for _, raw := range []object{raw, {"kind": "blurry", "tasks": 3.0, "of": raw}, {"kind": "revisits", "tasks": 3.0, "of": raw}} {
			b := build(t, source, 1, raw)
			require.Equal(t, []string{d.Name}, b.info.Datasets)
			require.Equal(t, []int{4}, []int(b.info.Input))
			for task := range 3 {
				x, y := b.task(t, task)
				for i := range x {
					sorted := slices.Sorted(slices.Values(x[i]))
					require.True(t, slices.ContainsFunc(slices.Collect(slices.Chunk(d.TrainSplit.F, 4)), func(row []float32) bool {
						return slices.Equal(slices.Sorted(slices.Values(row)), sorted)
					}), "%v: example %d of task %d is none of the dataset's", raw["kind"], i, task)
					require.Less(t, y[i], float32(3))
				}
			}
		}
	}
}

func TestStreamsShowTargets(t *testing.T) {
	d, source := own(t, 0, 2, 3)
	for _, raw := range []object{
		{"kind": "permuted", "examples_per_task": 30.0, "batch": 3.0, "square": 2.0}, {"kind": "images", "batch": 3.0, "remove": 0.5},
		{"kind": "rotated", "examples_per_task": 30.0, "batch": 3.0, "degrees": 0.0},
	} {
		raw["dataset"], raw["tasks"], raw["scale"] = d.Name, 2.0, "none"
		b := build(t, source, 1, raw)
		require.Equal(t, []int{0, 2, 30}, []int{b.info.Classes, b.info.Outputs, b.info.Examples})
		require.NoError(t, b.Enter(1))
		batch := stream.NewBatch(b.info, 3)
		b.Batch(2, batch)
		for i, image := range batch.Index {
			require.Equal(t, []float32{float32(image), -float32(image)}, batch.Targets[2*i:2*i+2])
			if raw["kind"] != "permuted" {
				require.Equal(t, d.TrainSplit.F[6*image:6*image+6], batch.X[6*i:6*i+6])
			}
		}
		held := stream.NewBatch(b.info, 12)
		b.Stream.(stream.Tester).Test(0, held)
		require.Equal(t, d.TestSplit.T, held.Targets)
	}
}

func TestTargetsOfAScale(t *testing.T) {
	d, source := own(t, 0, 2, 3)
	for _, raw := range []object{{"kind": "permuted", "examples_per_task": 30.0, "batch": 30.0}, {"kind": "images", "batch": 30.0}, {"kind": "rotated", "examples_per_task": 30.0, "batch": 30.0}} {
		raw["dataset"], raw["tasks"], raw["targets"] = d.Name, 1.0, "standard"
		b := build(t, source, 1, raw)
		require.NoError(t, b.Enter(0))
		batch := stream.NewBatch(b.info, 30)
		b.Batch(0, batch)
		var sum, squares float64
		for i := range 30 {
			v := float64(batch.Targets[2*i])
			require.InDelta(t, -v, batch.Targets[2*i+1], 1e-6)
			sum += v
			squares += v * v
		}
		require.InDelta(t, 0, sum, 1e-5)
		require.InDelta(t, 30, squares, 1e-4)
	}
}

func TestStreamsSayWhatOwnDataLacks(t *testing.T) {
	regression, _ := own(t, 0, 4)
	classes, _ := own(t, 3, 4)
	for _, c := range []struct {
		raw  object
		want string
	}{
		{object{"kind": "label-permuted", "dataset": regression.Name}, "stream.dataset: own dataset"},
		{object{"kind": "label-swap", "dataset": regression.Name}, "this stream swaps the labels of classes: take one with classes"},
		{object{"kind": "random-label", "dataset": regression.Name, "examples": 3.0, "batch": 3.0}, "draws labels among classes"},
		{object{"kind": "split", "dataset": regression.Name}, "shows some classes after others"},
		{object{"kind": "images", "dataset": regression.Name, "batch": 3.0, "noise": 0.5}, "stream.dataset: own dataset"},
		{object{"kind": "permuted", "dataset": regression.Name, "heads": 2.0}, "stream.heads: must be 0"},
		{object{"kind": "rotated", "dataset": classes.Name}, "are of shape [4] and are turned: that takes images"},
		{object{"kind": "permuted", "dataset": classes.Name, "square": 1.0}, "stream.square: examples of own dataset"},
		{object{"kind": "split", "dataset": classes.Name, "classes_per_task": 1.0, "examples_per_class": 11.0, "batch": 11.0}, "the smallest class of own dataset"},
		{object{"kind": "permuted", "dataset": classes.Name + "+" + regression.Name}, "cannot be joined by +"},
		{object{"kind": "permuted", "dataset": classes.Name + "+iris-of-mine"}, "unknown dataset \"iris-of-mine\""},
		{object{"kind": "permuted", "dataset": "own:nonsense"}, "no reference to an own dataset"},
	} {
		_, err := stream.Resolve("stream", c.raw)
		require.ErrorContains(t, err, c.want, "%v", c.raw)
	}
}

func TestScalesOfFloats(t *testing.T) {
	d, source := own(t, 3, 4)
	for i := range d.TrainSplit.N {
		d.TrainSplit.F[4*i+2] = 5 // the same in all
		d.TrainSplit.F[4*i+1] *= 1e6
	}
	column := func(scale string, f int) []float64 {
		b := build(t, source, 1, object{"kind": "images", "dataset": d.Name, "tasks": 1.0, "batch": 3.0, "scale": scale})
		x, _ := b.task(t, 0)
		var out []float64
		for _, row := range x {
			out = append(out, float64(row[f]))
		}
		require.Len(t, out, 30)
		return out
	}
	for f := range 4 {
		unit, symmetric, standard := column("unit", f), column("symmetric", f), column("standard", f)
		if f == 2 {
			for i := range unit {
				require.Zero(t, unit[i])
				require.Zero(t, symmetric[i])
				require.Zero(t, standard[i])
			}
			continue
		}
		require.Equal(t, []float64{0, 1}, []float64{slices.Min(unit), slices.Max(unit)})
		require.Equal(t, []float64{-1, 1}, []float64{slices.Min(symmetric), slices.Max(symmetric)})
		var sum, squares float64
		for _, v := range standard {
			sum += v
			squares += v * v
		}
		require.InDelta(t, 0, sum/30, 1e-6)
		require.InDelta(t, 1, math.Sqrt(squares/30), 1e-6)
	}
}

func TestScaleNoneLeavesBytesAsTheyAre(t *testing.T) {
	b := build(t, synthetic(30), 1, object{"kind": "images", "tasks": 1.0, "batch": 30.0, "subset": 30.0, "scale": "none"})
	require.NoError(t, b.Enter(0))
	batch := stream.NewBatch(b.info, 30)
	b.Batch(0, batch)
	for k, v := range batch.X[:784] {
		require.Equal(t, float32(b.src.TrainSplit.X[784*int(batch.Index[0])+k]), v)
	}
}

// Parameters that came later are not in canonical specs at their defaults: run keys on record stay.
func TestLaterParametersAreLeftOut(t *testing.T) {
	for _, kind := range []string{"permuted", "rotated", "images", "split"} {
		for _, raw := range []object{{"kind": kind}, {"kind": kind, "targets": "none"}, {"kind": kind, "sizes": []any{}, "classes": []any{}}} {
			if (kind == "split") != (raw["sizes"] != nil) && len(raw) > 1 {
				continue
			}
			r, err := stream.Resolve("stream", raw)
			require.NoError(t, err)
			for _, later := range []string{"targets", "sizes", "classes"} {
				require.NotContains(t, r.Canonical(), later)
			}
		}
	}
}

// The inputs and targets of own datasets are part of results: their bits stay.
func TestOwnDataHasTheSameBits(t *testing.T) {
	for _, c := range []struct {
		classes int
		raw     object
		want    string
	}{
		{3, object{"kind": "permuted", "scale": "unit"}, "1146c6da3acd273e"},
		{3, object{"kind": "permuted", "scale": "symmetric"}, "5ffa6ae4b38bd97a"},
		{3, object{"kind": "permuted", "scale": "standard"}, "c5d168d8acd51a84"},
		{3, object{"kind": "rotated", "scale": "standard"}, "371d62c98309b04d"},
		{0, object{"kind": "permuted", "scale": "none", "targets": "standard"}, "8d1dba47c5b114f4"},
	} {
		d, source := own(t, c.classes, 2, 3)
		c.raw["dataset"], c.raw["tasks"], c.raw["examples_per_task"], c.raw["batch"] = d.Name, 2.0, 30.0, 30.0
		b := build(t, source, 1, c.raw)
		h := sha256.New()
		batch := stream.NewBatch(b.info, 30)
		for task := range 2 {
			require.NoError(t, b.Enter(task))
			b.Batch(0, batch)
			require.NoError(t, binary.Write(h, binary.LittleEndian, batch.X))
			require.NoError(t, binary.Write(h, binary.LittleEndian, batch.Targets))
			require.NoError(t, binary.Write(h, binary.LittleEndian, batch.Labels))
		}
		require.Equal(t, c.want, hex.EncodeToString(h.Sum(nil)[:8]), "%v", c.raw)
	}
}

func TestADatasetIsNamed(t *testing.T) {
	_, err := stream.Resolve("stream", object{"kind": "permuted", "dataset": object{"path": "a.csv"}})
	require.EqualError(t, err, "stream.dataset: must be a name here: a file is read, and a reference put in its place, by `neoteny run` and `neoteny submit`")
	_, err = stream.Resolve("stream", object{"kind": "permuted", "dataset": 3.0})
	require.EqualError(t, err, "stream.dataset: must be the name of a dataset, or {path: FILE}, is 3")
}
