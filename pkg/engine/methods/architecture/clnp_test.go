package architecture_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

type object = map[string]any

// heads is a small problem with a head of two outputs per task: images of noise
// about two prototypes, which differ from task to task.
var heads = stream.Info{Input: tensor.Shape{6, 6}, Classes: 8, Outputs: 8, Head: 2, Tasks: 4, StepsPerTask: 40, Batch: 8}

// examples returns the batch of a step of a task.
func examples(info stream.Info, task int, step int64) *stream.Batch {
	b := stream.NewBatch(info, info.Batch)
	b.Task = task
	key, n := rng.New(9, "examples"), info.Input.Elems()
	key.FillNormal(b.X, uint64(task)<<32|uint64(step)+1)
	prototype := make([]float32, n)
	for i := range b.N {
		first, classes := info.HeadOf(task)
		class := (i + int(step)) % classes
		key.FillUniform(prototype, -1, 1, 1<<60|uint64(task*16+class))
		b.Labels[i] = int32(first + class)
		for j, p := range prototype {
			b.X[i*n+j] = 0.3*b.X[i*n+j] + p
		}
	}
	return b
}

// learn lives through a task, its end included, and returns its last step.
func learn(t *testing.T, l learner.Learner, info stream.Info, task int) *learner.Step {
	t.Helper()
	s := &learner.Step{Task: task}
	for k := range info.StepsPerTask {
		*s = learner.Step{Task: task, TaskStep: k, Index: int64(task)*info.StepsPerTask + k, Batch: examples(info, task, k), LastStep: k == info.StepsPerTask-1}
		require.NoError(t, l.Step(s))
	}
	require.NoError(t, l.EndTask(s))
	return s
}

// answers returns what the network gives for unseen examples of a task, and the
// fraction that is right.
func answers(t *testing.T, l learner.Learner, info stream.Info, task int) (output []float32, accuracy float64) {
	t.Helper()
	for k := range int64(4) {
		e, err := l.Evaluate(examples(info, task, 1000+k))
		require.NoError(t, err)
		output = append(output, e.Output...)
		for _, c := range e.Correct {
			accuracy += float64(c) / float64(4*e.N)
		}
	}
	return output, accuracy
}

func newLearner(t *testing.T, info stream.Info, network, optimizer object, methods ...any) learner.Learner {
	t.Helper()
	l, err := engine.NewLearner(object{"network": network, "optimizer": optimizer, "methods": methods}, info, 3)
	require.NoError(t, err)
	return l
}

func TestCLNPForgetsNothing(t *testing.T) {
	for name, network := range map[string]object{
		"mlp": {"kind": "mlp", "hidden": []any{24.0, 20.0}, "init": "pytorch"},
		"cnn": {"kind": "cnn", "hidden": []any{16.0}, "convolutions": []any{object{"channels": 6.0, "kernel": 3.0, "pool": 2.0}}},
	} {
		for _, optimizer := range []object{{"kind": "momentum", "lr": 0.05}, {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1}} {
			t.Run(fmt.Sprint(name, " ", optimizer["kind"]), func(t *testing.T) {
				clnp := object{"kind": "clnp", "lambda": 1e-3, "margin": 0.02, "samples": 100.0}
				l := newLearner(t, heads, network, optimizer, clnp)
				plain := newLearner(t, heads, network, optimizer)
				var want [][]float32
				for task := range heads.Tasks {
					learn(t, l, heads, task)
					learn(t, plain, heads, task)
					output, accuracy := answers(t, l, heads, task)
					require.Greater(t, accuracy, 0.8, "task %d has been learned", task)
					want = append(want, output)
					for before := range task {
						got, _ := answers(t, l, heads, before)
						require.Equal(t, want[before], got, "task %d after task %d", before, task)
					}
				}
				got, _ := answers(t, plain, heads, 0)
				require.NotEqual(t, want[0], got, "without it they change")
			})
		}
	}
}

// TestCLNPAllocates follows the definitions in float64, for a network of one
// hidden layer of 12 units, from the network's state right before the boundary.
func TestCLNPAllocates(t *testing.T) {
	const units, margin, samples = 12, 0.1, 40
	l := newLearner(t, heads, object{"kind": "mlp", "hidden": []any{float64(units)}}, object{"kind": "sgd", "lr": 0.05},
		object{"kind": "clnp", "lambda": 0.003, "margin": margin, "samples": samples})
	v := func(name string) *graph.Var {
		w := l.Store().Lookup(name)
		require.NotNil(t, w, name)
		return w
	}
	w1, b1, w2, b2 := v("net/hidden1/weight").F32, v("net/hidden1/bias").F32, v("net/output/weight").F32, v("net/output/bias").F32
	allocated := v("method/clnp/allocated/hidden1").I32
	in := heads.Input.Elems()
	seen := 0
	for task := range 2 {
		s := &learner.Step{}
		for k := range heads.StepsPerTask {
			*s = learner.Step{Task: task, TaskStep: k, Index: int64(task)*heads.StepsPerTask + k, Batch: examples(heads, task, k)}
			require.NoError(t, l.Step(s))
		}
		x, labels := slices.Clone(v("method/clnp/task/x").F32), slices.Clone(v("method/clnp/task/labels").I32)
		was := slices.Clone(allocated)
		activity := make([]float64, units)
		hidden := func(r int) []float64 {
			h := make([]float64, units)
			for j := range h {
				z := float64(b1[j])
				for i := range in {
					z += float64(x[r*in+i]) * float64(w1[i*units+j])
				}
				h[j] = math.Max(z, 0)
			}
			return h
		}
		for r := range samples {
			for j, h := range hidden(r) {
				activity[j] += h / samples
			}
		}
		// correct answers without the free units up to a threshold
		correct := func(theta float64) (n int) {
			for r := range samples {
				var z [2]float64
				h := hidden(r)
				for c := range z {
					z[c] = float64(b2[2*task+c])
					for j := range h {
						if was[j] > 0 || activity[j] > theta {
							z[c] += h[j] * float64(w2[j*8+2*task+c])
						}
					}
				}
				if (z[1] > z[0]) == (int(labels[r]) == 2*task+1) {
					n++
				}
			}
			return n
		}
		whole, theta := correct(-1), -1.0
		sorted := slices.Sorted(slices.Values(activity))
		for _, a := range sorted { // none but the largest threshold: the first that costs too much ends the search
			if float64(whole-correct(a)) > margin*samples {
				break
			}
			theta = a
		}
		before1, before2 := slices.Clone(w1), slices.Clone(w2)
		require.NoError(t, l.EndTask(s))
		free := 0
		for j := range units {
			kept := was[j] > 0 || activity[j] > theta
			require.Equal(t, kept, allocated[j] > 0, "unit %d with activity %v of %v, threshold %v", j, activity[j], sorted, theta)
			require.Equal(t, activity[j] > theta, v("method/clnp/active/hidden1").U8[j] == 1)
			for i := range in {
				if kept {
					require.Equal(t, before1[i*units+j], w1[i*units+j])
					require.EqualValues(t, 1, v("method/clnp/frozen/net/hidden1/weight").F32[i*units+j])
				} else {
					require.NotEqual(t, before1[i*units+j], w1[i*units+j])
				}
			}
			for c := range 2 {
				k := j*8 + 2*task + c
				require.EqualValues(t, 1, v("method/clnp/frozen/net/output/weight").F32[k])
				require.EqualValues(t, 0, v("method/clnp/frozen/net/output/weight").F32[k+2], "the next head")
				if kept {
					require.Equal(t, before2[k], w2[k])
				} else {
					require.Zero(t, w2[k])
				}
			}
			if !kept {
				free++
			}
		}
		require.Less(t, free, units)
		seen += free
	}
	require.NotZero(t, seen, "some units are free")
}
