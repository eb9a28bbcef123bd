package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// Values that are not finite end a run
//
//   - at the first step whose loss is not finite: the error names that step, its
//     task, and the first layer whose activations are not;
//   - at the end of a task whose last update, or one that no loss shows, left a
//     weight or a state that is not: it names the task's last step, and the
//     parameter's layer or the state.

// exploding is a run that does not stay finite.
func exploding(t *testing.T, activation, optimizer string, lr float64, batch, examples int, hidden ...any) *engine.Spec {
	if hidden == nil {
		hidden = []any{20.0, 20.0}
	}
	return resolve(t, engine.RawSpec{
		Stream: object{"kind": "bit-flip-regression", "tasks": 2.0, "examples_per_task": float64(examples), "batch": float64(batch)},
		Learner: object{
			"network":   object{"kind": "mlp", "hidden": hidden, "activation": activation},
			"optimizer": object{"kind": optimizer, "lr": lr},
		},
		Probes: []map[string]any{{"kind": "loss"}},
	})
}

// finite reports whether every weight is.
func finite(t *testing.T, l *engine.Life) bool {
	for _, w := range weights(t, l) {
		for ; len(w) > 0; w = w[4:] {
			if v := math.Float32frombits(binary.LittleEndian.Uint32(w)); v-v != 0 {
				return false
			}
		}
	}
	return true
}

// explode lives step by step until the run fails. It returns how many steps were
// done, and whether the last of them left weights that are not finite.
func explode(t *testing.T, spec *engine.Spec) (steps int64, hidden bool, err error) {
	l := newLife(t, spec, 1)
	for k := int64(1); k <= spec.Steps(); k++ {
		if err := l.Advance(context.Background(), k, discard{}); err != nil {
			require.Equal(t, k-1, l.Step(), "a step that fails is not counted")
			return k - 1, hidden, err
		}
		require.False(t, hidden, "step %d ran on weights that are not finite", k-1)
		hidden = !finite(t, l)
	}
	return spec.Steps(), hidden, nil
}

func TestExplodingRunsNameStepTaskAndLayer(t *testing.T) {
	for _, activation := range []string{"relu", "tanh", "leaky-relu", "sigmoid"} {
		for _, optimizer := range []string{"sgd", "momentum"} {
			for _, batch := range []int{1, 8} {
				step, _, err := explode(t, exploding(t, activation, optimizer, 1000, batch, 800))
				require.Error(t, err, "%s %s %d", activation, optimizer, batch)
				require.Regexp(t, fmt.Sprintf(`^step %d \(task 0\): the loss is (NaN|[+-]Inf); the first value that is not finite is in layer (hidden1|hidden2|output); a smaller step size may help$`, step), err.Error())
			}
		}
	}
}

// A run that diverges is a result: what was measured until then has gone to the sink,
// and its unfinished task has an end that says so. That is the same with every
// instruction set, however the run was cut, and in a pack.
func TestDivergedRunsKeepWhatWasMeasured(t *testing.T) {
	for _, batch := range []int{1, 8} {
		for _, examples := range []int{800, 8000} { // in the first chunk of rows, and between two
			spec := exploding(t, "relu", "sgd", 30/float64(batch), batch, examples)
			run := func(stops ...int64) *record {
				r, l := newRecord(), newLife(t, spec, 1)
				for _, stop := range stops {
					require.NoError(t, l.Advance(context.Background(), stop, r))
				}
				var d *learner.Diverged
				require.ErrorAs(t, l.Advance(context.Background(), spec.Steps(), r), &d)
				end := r.boundaries[len(r.boundaries)-1]
				require.Equal(t, d, end.Diverged)
				require.Equal(t, l.Step(), end.Step)
				require.Equal(t, l.Step(), d.Step, "the step that diverged is not counted")
				require.Equal(t, int(d.Step/spec.StepsPerTask()), end.Task)
				require.Len(t, r.rows["loss"], int(d.Step), "a value for every step before")
				return r
			}
			whole := run()
			require.Positive(t, len(whole.rows["loss"]))
			requireSame(t, whole, run(1, int64(len(whole.rows["loss"]))-1), "cut")
			for _, isa := range kernel.Available() {
				restore := kernel.ForceISA(isa)
				requireSame(t, whole, run(), isa.String())
				restore()
			}

			specs, envs := []*engine.Spec{spec, spec}, []engine.Env{{Seed: 1, Data: source}, {Seed: 1, Data: source}}
			p, err := engine.NewPack(specs, envs)
			require.NoError(t, err)
			records := []*record{newRecord(), newRecord()}
			for i, err := range p.Advance(context.Background(), spec.Steps(), []engine.Sink{records[0], records[1]}) {
				require.ErrorAs(t, err, new(*learner.Diverged))
				requireSame(t, whole, records[i], "in a pack")
			}
		}
	}
}

// TestAdamDoesNotExplode: its steps are no longer than lr, whatever the gradient.
func TestAdamDoesNotExplode(t *testing.T) {
	for _, batch := range []int{1, 8} {
		steps, hidden, err := explode(t, exploding(t, "tanh", "adam", 1000, batch, 80))
		require.NoError(t, err)
		require.False(t, hidden)
		require.Equal(t, int64(160/batch), steps)
	}
}

// TestTheLastUpdateOfATask looks for runs that die of the update of a step whose
// loss was finite, and lets a task end with that step.
func TestTheLastUpdateOfATask(t *testing.T) {
	deep := []any{20.0, 20.0, 20.0, 20.0, 20.0} // the first layer's gradient is a product of all others
	found := 0
	for _, batch := range []int{1, 8} {
		for lr := 0.5; lr < 10; lr *= 1.1 {
			step, hidden, err := explode(t, exploding(t, "relu", "sgd", lr, batch, 800, deep...))
			if err == nil || !hidden {
				continue
			}
			found++
			spec := exploding(t, "relu", "sgd", lr, batch, int(step)*batch, deep...)
			l, r := newLife(t, spec, 1), newRecord()
			err = l.Advance(context.Background(), spec.Steps(), r)
			require.Error(t, err)
			require.Regexp(t, fmt.Sprintf(`^end of task 0: step %d \(task 0\): the (weight|bias) of layer (hidden[1-5]|output) is not finite; a smaller step size may help$`, step-1), err.Error())
			require.Len(t, r.boundaries, 1)
			require.Equal(t, spec.StepsPerTask(), r.boundaries[0].Step)
			require.Equal(t, step-1, r.boundaries[0].Diverged.Step)
			require.NotEmpty(t, r.boundaries[0].Diverged.Layer)
		}
	}
	require.Positive(t, found, "no run of the kind was found")
}

// small is a learner whose weights and batches a test sets itself: inputs 2,
// hidden units 3 each, one output.
func small(t *testing.T, layers, batch int, optimizer object) (learner.Learner, *learner.Step) {
	t.Helper()
	hidden := []any{}
	for range layers {
		hidden = append(hidden, 3.0)
	}
	info := stream.Info{Input: tensor.Shape{2}, Outputs: 1, Batch: batch}
	l, err := engine.NewLearner(object{"network": object{"kind": "mlp", "hidden": hidden}, "optimizer": optimizer}, info, 1)
	require.NoError(t, err)
	return l, &learner.Step{Index: 41, Task: 3, Batch: stream.NewBatch(info, batch)}
}

// TestZeroInputsHideWeights: one example passes over the weights of inputs that
// are 0, so that no loss shows it. A batch does not.
func TestZeroInputsHideWeights(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, optimizer := range []object{{"kind": "sgd"}, {"kind": "adam"}} {
			l, s := small(t, 1, 1, optimizer)
			l.Store().Lookup("net/hidden1/weight").F32[0] = float32(bad)
			s.Batch.X[1] = 1 // and X[0] is 0
			require.NoError(t, l.Step(s))
			require.ErrorContains(t, l.EndTask(s), "step 41 (task 3): the weight of layer hidden1 is not finite")

			l, s = small(t, 1, 8, optimizer)
			l.Store().Lookup("net/hidden1/weight").F32[0] = float32(bad)
			require.ErrorContains(t, l.Step(s), "step 41 (task 3): the loss is NaN; the first value that is not finite is in layer hidden1;")
		}
	}
}

// TestUnitsThatAreOffHideWeights: −Inf is 0 behind a ReLU.
func TestUnitsThatAreOffHideWeights(t *testing.T) {
	for _, batch := range []int{1, 8} {
		l, s := small(t, 2, batch, object{"kind": "sgd"})
		l.Store().Lookup("net/hidden2/bias").F32[1] = float32(math.Inf(-1))
		for i := range s.Batch.X {
			s.Batch.X[i] = 1
		}
		require.NoError(t, l.Step(s))
		require.ErrorContains(t, l.EndTask(s), "step 41 (task 3): the bias of layer hidden2 is not finite")
	}
}

// TestGradientsBeyondFloat32: the loss is finite, its gradient or the square of
// it is not.
func TestGradientsBeyondFloat32(t *testing.T) {
	for name, c := range map[string]struct {
		optimizer object
		input     float32
		want      string
	}{
		"sgd":                 {object{"kind": "sgd"}, 1e20, "the weight of layer output is not finite"},
		"adam":                {object{"kind": "adam"}, 1e20, "the weight of layer output is not finite"},
		"adam, second moment": {object{"kind": "adam"}, 1e12, "the state optimizer/v/net/output/weight is not finite"},
	} {
		for _, batch := range []int{1, 8} {
			l, s := small(t, 0, batch, c.optimizer)
			w := l.Store().Lookup("net/output/weight").F32
			w[0], w[1] = 0.05, 0.05
			for i := range s.Batch.X {
				s.Batch.X[i] = c.input
			}
			require.NoError(t, l.Step(s), name)
			require.ErrorContains(t, l.EndTask(s), "step 41 (task 3): "+c.want, "%s, batch %d", name, batch)
		}
	}
}

// TestProbesOfNonFiniteFeatures: a probe may be the first to see them.
func TestProbesOfNonFiniteFeatures(t *testing.T) {
	raw := tiny()
	raw.Learner = object{
		"network":   object{"kind": "mlp", "hidden": []any{20.0, 20.0}, "activation": "leaky-relu"},
		"optimizer": object{"kind": "sgd", "lr": 1000.0},
	}
	raw.Stream = object{"kind": "bit-flip-regression", "tasks": 1.0, "examples_per_task": 40.0}
	for _, kind := range []string{"srank99", "effective-rank", "stable-rank"} {
		raw.Probes = []map[string]any{{"kind": kind, "every": "step", "samples": 10.0}}
		spec := resolve(t, raw)
		l := newLife(t, spec, 1)
		err := l.Advance(context.Background(), spec.Steps(), discard{})
		require.Error(t, err)
		require.Regexp(t, fmt.Sprintf(`^step %d \(task 0\): (the loss is|probes\[0\]: layer hidden\d: )`, l.Step()), err.Error())
	}
}
