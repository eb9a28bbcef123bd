package model

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
)

const realSpec = `
name: model
stream: {kind: bit-flip-regression, examples_per_task: 100, tasks: 7}
learner: {network: {kind: mlp, hidden: [5]}, rule: {kind: backprop}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
arms: {plain: {}, adam: {learner: {optimizer: {kind: adam}}}}
sweep: {grid: {learner.optimizer.lr: [0.01, 0.001]}}
select: {metric: loss, mode: min, confirm_seeds: {count: 4}}
seeds: {count: 3}
segments: {tasks: 2}
`

func TestPlanOfARealExperiment(t *testing.T) {
	spec, err := experiment.Parse([]byte(realSpec))
	require.NoError(t, err)
	plan, err := Experiments{}.Plan(spec)
	require.NoError(t, err)
	full, err := experiment.Expand(spec)
	require.NoError(t, err)
	require.Len(t, plan.Trials, 4)
	require.Equal(t, 4*3+2*4, plan.Runs)
	require.EqualValues(t, 20*4, plan.Segments)
	require.Len(t, plan.ConfirmSeeds, 4)
	for i, rec := range plan.Trials {
		require.EqualValues(t, i, rec.Index)
		require.EqualValues(t, 7, rec.Tasks)
		require.EqualValues(t, full.Trials[i].Spec.Steps(), int64(rec.Tasks)*rec.StepsPerTask)
		record, err := Experiments{}.Record(rec.CanonicalSpec)
		require.NoError(t, err)
		key, err := record.RunKey(2, nil)
		require.NoError(t, err)
		require.Equal(t, full.Trials[i].RunKey(2, nil), key, "the same after a restart")
		_, err = proto.Marshal(rec)
		require.NoError(t, err)
	}
	delete(spec.Stream.Fields, "kind")
	_, err = Experiments{}.Plan(spec)
	require.NotEmpty(t, component.FieldErrors(err))
}
