package inputs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

type object = map[string]any

// build makes the method for a stream's examples.
func build(t *testing.T, shape tensor.Shape, parameters object) (method.Batcher, error) {
	t.Helper()
	return buildOf(t, stream.Info{Input: shape, ChannelsFirst: true}, parameters)
}

func buildOf(t *testing.T, info stream.Info, parameters object) (method.Batcher, error) {
	t.Helper()
	spec := object{"kind": "augment", "crop": 0.0, "flip_horizontal": 0.0}
	maps.Copy(spec, parameters)
	r, err := method.Resolve("methods[0]", spec)
	require.NoError(t, err)
	m, err := r.Build(method.Env{
		Info: info, Inputs: info.Input.Elems(),
		Key: func(purpose string) rng.Key { return rng.New(7, "augment/"+purpose) },
	})
	if err != nil {
		return nil, err
	}
	return m.(method.Batcher), nil
}

// numbered has as many examples, whose values count up.
func numbered(shape tensor.Shape, n int) *stream.Batch {
	b := stream.NewBatch(stream.Info{Input: shape, Classes: 2}, n)
	for i := range b.X {
		b.X[i] = float32(i)
	}
	return b
}

// TestAugmentAgainstNumPy holds the method against testdata/augment.py.
func TestAugmentAgainstNumPy(t *testing.T) {
	text, err := os.ReadFile("testdata/augment.json")
	require.NoError(t, err)
	var cases []struct {
		Shape      tensor.Shape
		Parameters object
		Step       int64
		Batch      int
		Output     []float64
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		shapes := []tensor.Shape{c.Shape}
		if c.Shape[0] == 1 { // grey images have no axis for it
			shapes = append(shapes, c.Shape[1:])
		}
		for _, shape := range shapes {
			m, err := build(t, shape, c.Parameters)
			require.NoError(t, err)
			b := numbered(shape, c.Batch)
			require.NoError(t, m.Batch(&learner.Step{Index: c.Step, Batch: b}))
			for i, want := range c.Output {
				if c.Parameters["noise"] == nil {
					require.Equal(t, float32(want), b.X[i], "%v of %v: value %d", c.Parameters, shape, i)
				} else {
					require.InDelta(t, want, b.X[i], 3e-5, "%v of %v: value %d", c.Parameters, shape, i)
				}
			}
		}
	}
}

// Channels are behind or before rows and columns.
func TestAugmentWithChannelsLast(t *testing.T) {
	const channels, height, width, n = 3, 4, 5, 2
	parameters := object{"crop": 1.0, "shift": 1.0, "flip_horizontal": 0.5, "flip_vertical": 0.5, "fill": -1.0}
	first, err := build(t, tensor.Shape{channels, height, width}, parameters)
	require.NoError(t, err)
	last, err := buildOf(t, stream.Info{Input: tensor.Shape{height, width, channels}}, parameters)
	require.NoError(t, err)
	a, b := numbered(tensor.Shape{channels, height, width}, n), numbered(tensor.Shape{height, width, channels}, n)
	swap := func(to func(first, last int)) {
		for i := range n {
			for c := range channels {
				for p := range height * width {
					to(i*channels*height*width+c*height*width+p, i*channels*height*width+p*channels+c)
				}
			}
		}
	}
	swap(func(f, l int) { b.X[l] = a.X[f] })
	require.NoError(t, first.Batch(&learner.Step{Index: 3, Batch: a}))
	require.NoError(t, last.Batch(&learner.Step{Index: 3, Batch: b}))
	swap(func(f, l int) { require.Equal(t, a.X[f], b.X[l]) })
}

// What becomes of an example depends on seed, step and its place only: not on what was
// before, nor on other examples.
func TestAugmentIsAFunctionOfItsPlace(t *testing.T) {
	shape := tensor.Shape{2, 6, 5}
	parameters := object{"crop": 2.0, "shift": 1.0, "flip_horizontal": 0.5, "flip_vertical": 0.5, "noise": 0.5}
	m, err := build(t, shape, parameters)
	require.NoError(t, err)
	at := func(m method.Batcher, step int64) []float32 {
		b := numbered(shape, 3)
		require.NoError(t, m.Batch(&learner.Step{Index: step, Batch: b}))
		return slices.Clone(b.X)
	}
	first := at(m, 5)
	require.NotEqual(t, first, at(m, 6))
	again, err := build(t, shape, parameters)
	require.NoError(t, err)
	require.Equal(t, first, at(again, 5))
	n := shape.Elems()
	alike := 0
	for i := range 2 { // the same example in another place
		for k := range n {
			if first[i*n+k]-float32(i*n) == first[(i+1)*n+k]-float32((i+1)*n) {
				alike++
			}
		}
	}
	require.Less(t, alike, n/2)
	b := numbered(shape, 3)
	s := &learner.Step{Index: 1, Batch: b}
	require.Zero(t, testing.AllocsPerRun(5, func() { _ = m.Batch(s) }))
}

// How often and how far, by counting.
func TestAugmentDrawsEvenly(t *testing.T) {
	const steps, n = 200, 50
	m, err := build(t, tensor.Shape{1, 9}, object{"crop": 2.0})
	require.NoError(t, err)
	flip, err := build(t, tensor.Shape{1, 9}, object{"flip_horizontal": 0.3})
	require.NoError(t, err)
	offsets, flipped := map[float32]int{}, 0
	for step := range steps {
		b := numbered(tensor.Shape{1, 9}, n)
		require.NoError(t, flip.Batch(&learner.Step{Index: int64(step), Batch: b}))
		for i := range n {
			if b.X[9*i] > b.X[9*i+8] {
				flipped++
			}
		}
		b = numbered(tensor.Shape{1, 9}, n)
		require.NoError(t, m.Batch(&learner.Step{Index: int64(step), Batch: b}))
		for i := range n {
			if middle := b.X[9*i+4]; middle != 0 { // else the row was left
				offsets[middle-float32(9*i)]++
			}
		}
	}
	require.InDelta(t, 0.3*steps*n, flipped, 5*46)
	require.Len(t, offsets, 5)
	for d, count := range offsets { // a fifth of them keep their row
		require.InDelta(t, steps*n/25, count, 5*20, "offset %v", d)
	}
}

// Pixels have places to change in images only; noise goes with everything.
func TestAugmentOfWhatIsNoImage(t *testing.T) {
	raw := func(m object) engine.RawSpec {
		m["kind"] = "augment"
		return engine.RawSpec{
			Stream:  object{"kind": "bit-flip-regression", "tasks": 2.0, "examples_per_task": 20.0},
			Learner: object{"network": object{"kind": "mlp", "hidden": []any{3.0}}, "optimizer": object{"kind": "sgd"}, "methods": []any{m}},
			Probes:  []map[string]any{{"kind": "loss"}},
		}
	}
	_, err := engine.Resolve(raw(object{}))
	require.ErrorContains(t, err, `learner.methods[0]: augment needs a stream of images; the examples of the stream "bit-flip-regression" are none`)
	require.ErrorIs(t, err, engine.ErrLacks)
	for _, p := range []string{"shift", "crop", "flip_horizontal", "flip_vertical"} {
		m := object{"crop": 0.0, "flip_horizontal": 0.0, "noise": 1.0}
		m[p] = 1.0
		_, err := engine.Resolve(raw(m))
		require.ErrorIs(t, err, engine.ErrLacks, p)
	}

	spec, err := engine.Resolve(raw(object{"preset": "noise"}))
	require.NoError(t, err)
	l, err := engine.New(spec, engine.Env{Seed: 1})
	require.NoError(t, err)
	require.NoError(t, l.Advance(context.Background(), spec.Steps(), discard{}))

	_, err = build(t, tensor.Shape{4}, object{"shift": 1.0})
	require.ErrorContains(t, err, "augment needs images, the examples are of shape [4]")
	for _, bad := range []object{
		{"crop": -1.0}, {"crop": 5000.0}, {"shift": -1.0}, {"flip_horizontal": 1.5}, {"flip_vertical": -0.5}, {"noise": -1.0}, {"fill": 1e9}, {"crop": 0.5},
	} {
		bad["kind"] = "augment"
		_, err := method.Resolve("methods[0]", bad)
		require.ErrorContains(t, err, "methods[0]."+fmt.Sprint(slices.Collect(maps.Keys(without(bad, "kind")))[0]))
	}
}

func without(m object, key string) object {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

type discard struct{}

func (discard) Rows(engine.Rows) error         { return nil }
func (discard) Boundary(engine.Boundary) error { return nil }
