package units

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
)

// now is a stream at the start of a task.
type now int

func (n now) Learned() int                                         { return int(n) }
func (n now) Now() int                                             { return int(n) }
func (now) EvaluateTraining(_, _ int) (*learner.Evaluation, error) { panic("nothing is evaluated") }
func (now) Evaluate(_, _ int) (*learner.Evaluation, error)         { panic("nothing is evaluated") }

func TestFreeUnits(t *testing.T) {
	net := probetest.Network(t, 3, 4, 2, 2)
	store := graph.NewStore()
	method := store.Space(graph.OfMethod, "method/m")
	r, _, err := probe.Resolve("probes[0]", probetest.Object{"kind": "free-units"})
	require.NoError(t, err)
	read := func() []float32 {
		p, err := r.Build(probe.Env{Network: net, Space: store.Space(graph.OfProbe, "probe/0")})
		require.NoError(t, err)
		require.Equal(t, "free_units/hidden1", p.Columns()[2].String())
		require.Equal(t, "reused_units/hidden2", p.Columns()[5].String())
		values := make([]float32, len(p.Columns()))
		require.NoError(t, p.(probe.TaskMeasurer).MeasureTasks(now(2), values))
		return values
	}
	require.Equal(t, []float32{1, 0, 1, 0, 1, 0}, read(), "no method allocates units")
	set := func(layer string, allocated []int32, active []uint8) {
		copy(method.State("allocated/"+layer, graph.I32, len(allocated)).I32, allocated)
		copy(method.State("active/"+layer, graph.U8, len(active)).U8, active)
	}
	// Task 1 has ended. In the first layer it has unit 1 of its own and reuses
	// unit 0 of task 0, not unit 2; unit 3 is free. The second is all of task 0.
	set("hidden1", []int32{1, 2, 1, 0}, []uint8{1, 1, 0, 0})
	set("hidden2", []int32{1, 1}, []uint8{1, 0})
	require.Equal(t, []float32{1. / 6, 2. / 3, 1. / 4, 1. / 2, 0, 1}, read())
}
