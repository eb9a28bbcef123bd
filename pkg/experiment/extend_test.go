package experiment

import (
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

const toExtend = `
name: x
stream: {kind: bit-flip-regression, tasks: 3}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
`

func extended(t *testing.T, text string, x Extension) *pb.ExperimentSpec {
	t.Helper()
	spec, err := Parse([]byte(toExtend + text))
	require.NoError(t, err)
	out, err := Extend(spec, x)
	require.NoError(t, err)
	return out
}

func TestExtend(t *testing.T) {
	require.EqualValues(t, 4, extended(t, "", Extension{Seeds: 4}).Seeds.Count)
	require.EqualValues(t, 7, extended(t, "seeds: {count: 2, first: 5}", Extension{Seeds: 7}).Seeds.Count)
	require.Equal(t, []uint32{9, 2, 10, 11}, extended(t, "seeds: {list: [9, 2]}", Extension{Seeds: 4}).Seeds.List)
	chosen := extended(t, "sweep: {grid: {learner.optimizer.lr: [0.1, 0.2]}}\nseeds: {count: 2}\nselect: {metric: loss, mode: min, confirm_seeds: {count: 3}}", Extension{Seeds: 5})
	require.EqualValues(t, 5, chosen.Select.ConfirmSeeds.Count)
	require.EqualValues(t, 2, chosen.Seeds.Count)

	searched := extended(t, "arms: {a: {}}\nsweep: {arms: {a: {random: {count: 2, params: {learner.optimizer.lr: {uniform: [0.1, 0.2]}}}}}}", Extension{Trials: 9})
	require.EqualValues(t, 9, searched.Sweep.Arms["a"].Random.Count)

	more := Extension{Arms: []byte("arms:\n  z: {learner: {optimizer: {lr: 0.1}}}\n  b: {learner: {optimizer: {lr: 0.2}}}\nsweep: {arms: {z: {grid: {learner.optimizer.lr: [1, 2]}}}}\n")}
	got := extended(t, "arms: {c: {}, a: {}}", more)
	require.Equal(t, []string{"c", "a", "z", "b"}, ArmOrder(got))
	require.Len(t, got.Sweep.Arms["z"].Grid["learner.optimizer.lr"].Values, 2)
	require.ElementsMatch(t, []string{"b", "base", "z"}, ArmOrder(extended(t, "", more)), "the experiment as it stood is an arm")
}

func TestExtendRefuses(t *testing.T) {
	for want, c := range map[string]struct {
		text string
		x    Extension
	}{
		"seeds: it has 3 seeds, more than 2":               {"seeds: {count: 3}", Extension{Seeds: 2}},
		"sweep.random: more trials: the experiment has no": {"", Extension{Trials: 4}},
		"nothing else":            {"", Extension{Arms: []byte("arms: {a: {}}\nseeds: {count: 3}")}},
		"arms: an empty arm list": {"", Extension{Arms: []byte("arms: {}")}},
		"arms.a: the experiment has an arm of this name": {"arms: {a: {}}", Extension{Arms: []byte("arms: {a: {}}")}},
		"sweep.arms.b: the file has no arm of this name": {"arms: {b: {}}", Extension{Arms: []byte("arms: {a: {}}\nsweep: {arms: {b: {grid: {learner.optimizer.lr: [1]}}}}")}},
		"unknown field":           {"", Extension{Arms: []byte("arm: {a: {}}")}},
		"arms: the file has none": {"", Extension{Arms: []byte("# none\n")}},
	} {
		spec, err := Parse([]byte(toExtend + c.text))
		require.NoError(t, err)
		before := spec.String()
		_, err = Extend(spec, c.x)
		require.ErrorContains(t, err, want)
		require.Equal(t, before, spec.String())
	}
}
