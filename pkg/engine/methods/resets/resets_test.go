package resets

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
)

// isNew reports whether a unit's bias is 0, which dirty made another. (Outgoing
// weights are incoming ones of a unit that may be new itself.)
func isNew(b *methodtest.Bench, layer string, unit int) bool {
	return b.Param(layer + "/bias").Var.F32[unit] == 0
}

// dirty gives all weights and biases other values, none of them 0.
func dirty(b *methodtest.Bench) {
	for _, p := range b.Net.Params() {
		for i := range p.Var.F32 {
			p.Var.F32[i] = 1 + float32(i)
		}
	}
}

// snrOracle is a unit of self-normalized resets as the published code has it: a
// histogram over all ages, in examples.
type snrOracle struct {
	age, tau int
	hist     []int
}

func (o *snrOracle) step(active bool, batch int) (reset bool) {
	count := func() {
		if o.age < len(o.hist) {
			o.hist[o.age]++
		}
		o.age = 0
	}
	if active {
		count()
	} else {
		o.age += batch
	}
	if reset = o.age >= o.tau; reset {
		count()
	}
	return reset
}

func (o *snrOracle) newTau(percentile float64, expansion, least, most int) {
	total, q := 0, 1
	for _, n := range o.hist[1:] {
		total += n
	}
	sum := 0
	for age := 1; age < len(o.hist); age++ {
		sum += o.hist[age]
		if total > 0 && float64(sum)/float64(total) >= percentile {
			q = age
			break
		}
	}
	if q >= o.tau {
		q = expansion * o.tau
	}
	o.tau = max(least, min(most, q))
	clear(o.hist)
}

func TestSelfNormalizedResetsAgainstOracle(t *testing.T) {
	const batch, tasks, perTask = 3, 12, 200
	b := methodtest.New(t, 5, []any{6, 4}, "pytorch")
	b.Batch = batch
	m := b.Method(map[string]any{
		"kind": "self-normalized-resets", "initial": 30.0, "least": 9.0, "most": 90.0, "tasks": 2.0, "percentile": 0.9, "expansion": 2.0,
	})
	var oracle [2][]*snrOracle
	for l, n := range []int{6, 4} {
		for range n {
			oracle[l] = append(oracle[l], &snrOracle{tau: 30, hist: make([]int, 91)})
		}
	}
	key := b.Key("activity")
	resets, lowered, raised := 0, 0, 0
	for task := range tasks {
		for k := range perTask {
			step := int64(task*perTask + k)
			dirty(b)
			s := &learner.Step{Index: step, Task: task, Features: [][]float32{make([]float32, batch*6), make([]float32, batch*4)}}
			for l, f := range s.Features {
				n := len(f) / batch
				for i := range f {
					f[i] = -1
					// Unit j is active with probability 2^-(j+1) or so.
					if u := key.Float32(uint64(step), uint64(l*100+i)); float64(u) < math.Pow(2, -float64(i%n+1))/2 {
						f[i] = 1
					}
				}
			}
			require.NoError(t, m.(method.AfterStep).AfterStep(s))
			for l := range oracle {
				n := len(oracle[l])
				for i, o := range oracle[l] {
					active := false
					for r := range batch {
						active = active || s.Features[l][r*n+i] > 0
					}
					want := o.step(active, batch)
					require.Equal(t, want, isNew(b, fmt.Sprintf("hidden%d", l+1), i), "step %d, unit %d of layer %d", step, i, l+1)
					if want {
						resets++
					}
				}
			}
		}
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: task}))
		if (task+1)%2 == 0 {
			for l := range oracle {
				tau := b.Store.Lookup(fmt.Sprintf("method/self-normalized-resets/hidden%d/tau", l+1)).F64
				for i, o := range oracle[l] {
					before := o.tau
					o.newTau(0.9, 2, 9, 90)
					require.InDelta(t, o.tau, tau[i], 0)
					if o.tau < before {
						lowered++
					}
					if o.tau > before {
						raised++
					}
				}
			}
		}
	}
	require.Greater(t, resets, 20)
	require.Greater(t, lowered, 5)
	require.Greater(t, raised, 1)
}

func TestRegramaAgainstItsFormula(t *testing.T) {
	const window, period = 3, 5
	b := methodtest.New(t, 5, []any{6, 4}, "pytorch")
	m := b.Method(map[string]any{"kind": "regrama", "period": float64(period), "window": float64(window), "threshold": 0.5})
	params := b.Net.Params()
	recycled := 0
	sum := map[*nn.Param][]float64{}
	for step := range int64(200) {
		dirty(b)
		var gradients [][]float32
		for k, p := range params {
			g := make([]float32, p.Var.Len())
			b.Key(fmt.Sprint(k)).FillNormal(g, uint64(step))
			out := p.Var.Shape[len(p.Var.Shape)-1]
			for i := range g { // units differ, the less so the later
				g[i] *= float32(math.Exp(-2 * float64((i+int(step))%out) / float64(out)))
			}
			gradients = append(gradients, g)
			if step%period >= period-window && p.Role == nn.Weight {
				if sum[p] == nil {
					sum[p] = make([]float64, out)
				}
				for i, v := range g {
					sum[p][i%out] += math.Abs(float64(v))
				}
			}
		}
		s := &learner.Step{Index: step}
		require.NoError(t, m.(method.AfterBackward).AfterBackward(s, gradients))
		require.NoError(t, m.(method.AfterStep).AfterStep(s))
		for l := range 2 {
			layer := fmt.Sprintf("hidden%d", l+1)
			scores := sum[b.Param(layer+"/weight")]
			mean := 0.0
			for _, v := range scores {
				mean += v / float64(len(scores))
			}
			for i := range b.Net.Units()[l].N {
				want := step%period == period-1 && scores[i]/mean <= 0.5
				require.Equal(t, want, isNew(b, layer, i), "step %d, unit %d of %s", step, i, layer)
				if want {
					recycled++
				}
			}
		}
		if step%period == period-1 {
			clear(sum)
		}
	}
	require.Greater(t, recycled, 10)
}
