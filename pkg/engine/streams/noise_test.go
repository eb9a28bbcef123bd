package streams

import (
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/stream"
)

func TestNoise(t *testing.T) {
	inner := object{"kind": "images", "tasks": 2.0, "batch": 5.0, "subset": 50.0}
	clean := build(t, synthetic(60), 1, inner)
	one := func(more object) built {
		raw := object{"kind": "noise", "tasks": 2.0, "labels": 0.0, "of": inner}
		maps.Copy(raw, more)
		return build(t, synthetic(60), 1, raw)
	}
	wantX, wantY := clean.task(t, 1)

	x, y := one(nil).task(t, 1)
	require.Equal(t, wantX, x)
	require.Equal(t, wantY, y)

	x, y = one(object{"labels": 1.0}).task(t, 1)
	require.Equal(t, wantX, x)
	for i := range y {
		require.NotEqual(t, wantY[i], y[i])
		require.True(t, y[i] >= 0 && y[i] < 10)
	}
	_, y = one(object{"labels": 0.3}).task(t, 1)
	wrong := 0
	for i := range y {
		if y[i] != wantY[i] {
			wrong++
		}
	}
	require.InDelta(t, 15, wrong, 10)

	x, y = one(object{"inputs": 0.5}).task(t, 1)
	require.Equal(t, wantY, y)
	var squares float64
	for i := range x {
		for k := range x[i] {
			d := float64(x[i][k] - wantX[i][k])
			squares += d * d
		}
	}
	require.InDelta(t, 0.5, math.Sqrt(squares/float64(len(x)*784)), 0.02)

	// Measurements see no noise.
	noisy := one(object{"inputs": 0.5, "labels": 1.0})
	require.NoError(t, noisy.Enter(1))
	require.NoError(t, clean.Enter(1))
	a, b := stream.NewBatch(clean.info, 7), stream.NewBatch(clean.info, 7)
	noisy.Sample(a)
	clean.Sample(b)
	require.Equal(t, b, a)
	noisy.Stream.(stream.Tester).Test(3, a)
	clean.Stream.(stream.Tester).Test(3, b)
	require.Equal(t, b, a)
}

func TestNoiseOfAnExample(t *testing.T) {
	raw := object{"kind": "noise", "tasks": 1.0, "labels": 0.5, "inputs": 0.1, "draw": "example",
		"of": object{"kind": "random-label", "examples": 10.0, "epochs": 3.0, "batch": 5.0}}
	s := build(t, synthetic(60), 1, raw)
	require.NoError(t, s.Enter(0))
	type shown struct {
		x     float32
		label int32
	}
	first := map[int32]shown{}
	b := stream.NewBatch(s.info, 5)
	for step := range int64(6) {
		s.Batch(step, b)
		for i, image := range b.Index {
			now := shown{b.X[784*i+1], b.Labels[i]}
			if have, ok := first[image]; ok {
				require.Equal(t, have, now)
			}
			first[image] = now
		}
	}
	require.Len(t, first, 10)

	raw["of"] = object{"kind": "sine"}
	_, err := stream.Resolve("stream", raw)
	require.ErrorContains(t, err, "stream.draw: must be showing")
}

func TestNoiseOnTargetsAndHeads(t *testing.T) {
	sine := object{"kind": "sine", "examples_per_task": 500.0}
	_, want := build(t, nil, 1, sine).task(t, 0)
	_, got := build(t, nil, 1, object{"kind": "noise", "tasks": 1.0, "targets": 2.0, "of": sine}).task(t, 0)
	var squares float64
	for i := range got {
		d := float64(got[i] - want[i])
		squares += d * d
	}
	require.InDelta(t, 2, math.Sqrt(squares/500), 0.3)

	heads := build(t, synthetic(60), 1, object{"kind": "noise", "tasks": 5.0, "labels": 1.0,
		"of": object{"kind": "split", "head": "per-task", "examples_per_class": 5.0, "batch": 5.0}})
	for task := range 5 {
		_, y := heads.task(t, task)
		for _, label := range y {
			require.Equal(t, task, int(label)/2, "a wrong label is one of the task's head")
		}
	}
}
