package architecture_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	_ "neoteny/pkg/engine/methods/steps"
)

// softmax of logits over temperature, over the classes of a mask.
func softmax(z []float64, temperature float64, in func(k int) bool) []float64 {
	p, total := make([]float64, len(z)), 0.0
	for k, v := range z {
		if in(k) {
			p[k] = math.Exp(v / temperature)
			total += p[k]
		}
	}
	for k := range p {
		p[k] /= total
	}
	return p
}

func TestDualArch(t *testing.T) {
	single := heads // a single head of eight classes, two of which a task shows
	single.Head = 0
	const outputs, alpha, temperature, lr, first = 8, 0.3, 2.0, 0.1, 10
	plasticNetwork, optimizer := object{"kind": "mlp", "hidden": []any{6.0, 5.0}}, object{"kind": "adam", "lr": 0.01}
	for _, compared := range []string{"task", "all"} {
		t.Run(compared, func(t *testing.T) {
			l := newLearner(t, single, object{"kind": "mlp", "hidden": []any{}}, object{"kind": "sgd", "lr": lr}, object{
				"kind": "dual-arch", "network": plasticNetwork, "optimizer": optimizer,
				"share": 0.25, "alpha": alpha, "temperature": temperature, "outputs": compared,
			})
			// The plastic learner beside it, as a learner of its own.
			plastic := newLearner(t, single, plasticNetwork, optimizer, object{"kind": "adam-rel", "moments": "reset"})
			same := func(copyIt bool) {
				for _, v := range plastic.Store().Vars() {
					if name, own := strings.CutPrefix(v.Name, "net/"); own {
						w := l.Store().Lookup("method/dual-arch/plastic/" + name)
						if copyIt {
							copy(v.F32, w.F32)
						}
						require.Equal(t, v.F32, w.F32, name)
					}
				}
			}
			same(true)
			w, bias := l.Store().Lookup("net/output/weight").F32, l.Store().Lookup("net/output/bias").F32
			in := single.Input.Elems()
			for task := range 3 {
				was := append([]float32(nil), w...)
				var s *learner.Step
				for k := range int64(first) {
					s = &learner.Step{Index: int64(task)*40 + k, Task: task, TaskStep: k, Batch: examples(heads, task, k)}
					require.NoError(t, l.Step(s))
					p := *s
					require.NoError(t, plastic.Step(&p))
				}
				same(false)
				require.Equal(t, was, w, "the learner's own network waits")
				require.NoError(t, plastic.EndTask(s)) // its optimiser starts anew

				in0, in1 := wide(w), wide(bias)
				for k := range int64(30) {
					batch := examples(heads, task, first+k)
					e, err := plastic.Evaluate(batch)
					require.NoError(t, err)
					dw, db := make([]float64, len(in0)), make([]float64, outputs)
					for r := range batch.N {
						x := wide(batch.X[r*in : (r+1)*in])
						z := append([]float64(nil), in1...)
						for i, v := range x {
							for c := range z {
								z[c] += v * in0[i*outputs+c]
							}
						}
						every := func(int) bool { return true }
						some := every
						if compared == "task" {
							some = func(c int) bool { return c/2 == task }
						}
						hard, student := softmax(z, 1, every), softmax(z, temperature, some)
						teacher := softmax(wide(e.Output[r*outputs:(r+1)*outputs]), temperature, some)
						for c := range z {
							d := (1 - alpha) * hard[c]
							if int(batch.Labels[r]) == c {
								d -= 1 - alpha
							}
							d += alpha * (student[c] - teacher[c]) / temperature
							db[c] += d / float64(batch.N)
							for i, v := range x {
								dw[i*outputs+c] += v * d / float64(batch.N)
							}
						}
					}
					for i := range in0 {
						in0[i] -= lr * dw[i]
					}
					for c := range in1 {
						in1[c] -= lr * db[c]
					}
					s = &learner.Step{Index: int64(task)*40 + first + k, Task: task, TaskStep: first + k, Batch: batch}
					require.NoError(t, l.Step(s))
				}
				require.NoError(t, l.EndTask(s))
				same(false)
				require.InDeltaSlice(t, in0, w, 1e-4)
				require.InDeltaSlice(t, in1, bias, 1e-4)
			}
		})
	}
}
