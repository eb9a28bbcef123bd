package accuracy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
)

// TestExampleForgetting follows four examples by hand.
func TestExampleForgetting(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	p := g.Build(t, probetest.Object{"kind": "example-forgetting", "samples": nil})
	values := make([]float32, 3)
	step := func(index []int32, correct ...float32) []float32 {
		p.(probe.Stepper).Step(&learner.Step{Batch: &stream.Batch{N: len(index), Index: index}, Correct: correct}, values)
		return values
	}
	near := func(forgotten, unlearned, events float64, got []float32, what ...any) {
		t.Helper()
		require.InDeltaSlice(t, []float64{forgotten, unlearned, events}, []float64{float64(got[0]), float64(got[1]), float64(got[2])}, 1e-7, what...)
	}
	near(1./2, 1./2, 0, step([]int32{0, 1}, 1, 0))
	near(2./3, 1./3, 0, step([]int32{1, 2}, 1, 0))
	near(1./3, 1./3, 0.5, step([]int32{0, 2}, 0, 0), "0 is forgotten")
	near(1./3, 1./3, 0.5, step([]int32{0, -1}, 1, 0), "and learned again")
	near(1./3, 1./3, 1, step([]int32{0, 1}, 0, 1), "and forgotten again")
	near(0, 1./3, 1.5, step([]int32{0, 1}, 0, 0), "wrong twice is one event; 1 is forgotten")
	none := &learner.Step{Batch: &stream.Batch{Index: []int32{-1}}}
	require.Zero(t, testing.AllocsPerRun(3, func() { p.(probe.Stepper).Step(none, values) }))

	b, err := p.(*exampleForgetting).Publish(ForgettingCounts)
	require.NoError(t, err)
	f, err := safetensors.Decode(b)
	require.NoError(t, err)
	var tensors [][]byte
	for _, x := range f.Tensors {
		require.Equal(t, "I32", x.DType)
		require.Equal(t, []int{4}, x.Shape)
		tensors = append(tensors, x.Data)
	}
	const never = 0xff
	require.Equal(t, [][]byte{
		{2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		{0, 0, 0, 0, 1, 0, 0, 0, never, never, never, never, never, never, never, never},
	}, tensors)

	env := g.Env
	env.Info.Examples = 0
	r, _, err := probe.Resolve("probes[0]", probetest.Object{"kind": "example-forgetting"})
	require.NoError(t, err)
	_, err = r.Build(env)
	require.ErrorContains(t, err, "numbers them")
}
