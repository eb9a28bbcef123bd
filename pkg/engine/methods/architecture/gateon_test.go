package architecture_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/stream"
)

// gated is a perceptron with one hidden layer, its gates and its availabilities
// in float64, with SGD.
type gated struct {
	in, hidden, out int
	w1, b1, w2, b2  []float64
	p               []float64 // of the task, [hidden]
	a               []float64 // [hidden], or of w1, b1, w2 and b2 behind each other
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// step is one step on a batch, with the definitions written out.
func (g *gated) step(b *stream.Batch, lr, rate, epsilon float64, perWeight bool) {
	dw1, db1, dw2, db2, dp := make([]float64, len(g.w1)), make([]float64, g.hidden), make([]float64, len(g.w2)), make([]float64, g.out), make([]float64, g.hidden)
	r := make([]float64, g.hidden)
	n := float64(b.N)
	for e := range b.N {
		x := wide(b.X[e*g.in : (e+1)*g.in])
		act, h, z := make([]float64, g.hidden), make([]float64, g.hidden), append([]float64(nil), g.b2...)
		for j := range h {
			s := g.b1[j]
			for i, v := range x {
				s += v * g.w1[i*g.hidden+j]
			}
			act[j] = math.Max(s, 0)
			h[j] = act[j] * math.Pow(math.Tanh(math.Max(g.p[j], 0)), 2)
			for k := range z {
				z[k] += h[j] * g.w2[j*g.out+k]
			}
		}
		var total float64
		for _, v := range z {
			total += math.Exp(v)
		}
		dh := make([]float64, g.hidden)
		for k := range z {
			d := math.Exp(z[k]) / total
			if int(b.Labels[e]) == k {
				d--
			}
			db2[k] += d / n
			for j := range h {
				dw2[j*g.out+k] += h[j] * d / n
				dh[j] += g.w2[j*g.out+k] * d
			}
		}
		for j := range h {
			r[j] += h[j] * dh[j] * h[j] * dh[j] / n
			if g.p[j] > 0 {
				th := math.Tanh(g.p[j])
				dp[j] += dh[j] * act[j] * 2 * th * (1 - th*th) / n
				if act[j] > 0 {
					d := dh[j] * th * th / n
					db1[j] += d
					for i, v := range x {
						dw1[i*g.hidden+j] += v * d
					}
				}
			}
		}
	}
	follow := func(a, r []float64) {
		whole := slices.Max(r)
		if perWeight { // which the test has divided by the mean
			whole = 0
			for _, v := range r {
				whole += v / float64(len(r))
			}
		}
		for i, v := range r {
			a[i] = math.Min(math.Max(a[i]-rate*a[i]*(v/(whole+1e-30)-epsilon), 0), 1)
		}
	}
	squares := func(w, d []float64) (r []float64) {
		for i := range w {
			r = append(r, w[i]*d[i]*w[i]*d[i])
		}
		return r
	}
	was := append([]float64(nil), g.a...)
	relevances := [][]float64{squares(g.w1, dw1), squares(g.b1, db1), squares(g.w2, dw2), squares(g.b2, db2)}
	for i := range g.w1 {
		a := was[i%g.hidden]
		if perWeight {
			a = was[i]
		}
		g.w1[i] -= lr * a * dw1[i]
	}
	for j := range g.b1 {
		a := was[j]
		if perWeight {
			a = was[len(g.w1)+j]
		}
		g.b1[j] -= lr * a * db1[j]
		g.p[j] -= lr * dp[j]
	}
	for i := range g.w2 {
		a := was[i/g.out]
		if perWeight {
			a = was[len(g.w1)+g.hidden+i]
		}
		g.w2[i] -= lr * a * dw2[i]
	}
	for k := range g.b2 {
		a := 1.0
		if perWeight {
			a = was[len(was)-g.out+k]
		}
		g.b2[k] -= lr * a * db2[k]
	}
	if perWeight {
		at := 0
		for _, r := range relevances {
			follow(g.a[at:at+len(r)], r)
			at += len(r)
		}
	} else {
		follow(g.a, r)
	}
}

func TestGateON(t *testing.T) {
	shared := heads
	shared.Head, shared.Classes, shared.Outputs = 0, 2, 2
	for _, obstruct := range []string{"units", "weights", "nothing"} {
		t.Run(obstruct, func(t *testing.T) {
			const hidden, lr, rate, epsilon = 7, 0.2, 0.05, 0.3
			l := newLearner(t, shared, object{"kind": "mlp", "hidden": []any{float64(hidden)}, "init": "pytorch"}, object{"kind": "sgd", "lr": lr},
				object{"kind": "gateon", "contexts": 4.0, "rate": rate, "epsilon": epsilon, "obstruct": obstruct, "relative": map[string]any{"units": "largest", "weights": "mean", "nothing": "mean"}[obstruct]})
			read := func(name string) []float32 {
				v := l.Store().Lookup(name)
				require.NotNil(t, v, name)
				return v.F32
			}
			p := read("net/hidden1/adapter0/gate")
			g := &gated{
				in: shared.Input.Elems(), hidden: hidden, out: 2,
				w1: wide(read("net/hidden1/weight")), b1: wide(read("net/hidden1/bias")), w2: wide(read("net/output/weight")), b2: wide(read("net/output/bias")),
			}
			g.a = make([]float64, hidden)
			if obstruct == "weights" {
				g.a = make([]float64, len(g.w1)+hidden+len(g.w2)+2)
			}
			for i := range g.a {
				g.a[i] = 1
			}
			for task := range 3 {
				others := append([]float32(nil), p...)
				g.p = wide(p[task*hidden : (task+1)*hidden])
				var s *learner.Step
				for k := range int64(15) {
					b := examples(shared, task, k)
					s = &learner.Step{Index: int64(task)*15 + k, Task: task, TaskStep: k, Batch: b}
					require.NoError(t, l.Step(s))
					if obstruct == "nothing" {
						g.step(b, lr, 0, 0, false)
					} else {
						g.step(b, lr, rate, epsilon, obstruct == "weights")
					}
				}
				require.NoError(t, l.EndTask(s))
				require.InDeltaSlice(t, g.w1, read("net/hidden1/weight"), 1e-4)
				require.InDeltaSlice(t, g.b1, read("net/hidden1/bias"), 1e-4)
				require.InDeltaSlice(t, g.w2, read("net/output/weight"), 1e-4)
				require.InDeltaSlice(t, g.p, p[task*hidden:(task+1)*hidden], 1e-4)
				for i := range others {
					if i/hidden != task {
						require.Equal(t, others[i], p[i], "gates of another task")
					}
				}
				switch obstruct {
				case "units":
					require.InDeltaSlice(t, g.a, read("method/gateon/availability/hidden1"), 1e-3)
				case "weights":
					require.InDeltaSlice(t, g.a[:len(g.w1)], read("method/gateon/availability/net/hidden1/weight"), 1e-3)
				}
			}
			if obstruct != "nothing" {
				least, most := 1.0, 0.0
				for _, a := range g.a {
					least, most = math.Min(least, a), math.Max(most, a)
				}
				require.Less(t, least, 0.5)
				require.Greater(t, most, 0.9)
			}
		})
	}
}

// loss is the mean cross-entropy of a batch.
func (g *gated) loss(b *stream.Batch) (mean float64) {
	for e := range b.N {
		z := append([]float64(nil), g.b2...)
		for j := range g.hidden {
			s := g.b1[j]
			for i, v := range b.X[e*g.in : (e+1)*g.in] {
				s += float64(v) * g.w1[i*g.hidden+j]
			}
			for k := range z {
				z[k] += math.Max(s, 0) * math.Pow(math.Tanh(math.Max(g.p[j], 0)), 2) * g.w2[j*g.out+k]
			}
		}
		var total float64
		for _, v := range z {
			total += math.Exp(v)
		}
		mean += (math.Log(total) - z[b.Labels[e]]) / float64(b.N)
	}
	return mean
}

// TestGateONInfersContexts follows the rule with losses computed apart, through
// tasks of which every second one has the labels exchanged, and which the learner
// is not given.
func TestGateONInfersContexts(t *testing.T) {
	shared := heads
	shared.Head, shared.Classes, shared.Outputs, shared.StepsPerTask = 0, 2, 2, 150
	const hidden, contexts, jump, settle = 16, 5, 6, 60
	l := newLearner(t, shared, object{"kind": "mlp", "hidden": []any{float64(hidden)}, "init": "pytorch"}, object{"kind": "sgd", "lr": 0.1},
		object{"kind": "gateon", "context": "inferred", "contexts": float64(contexts), "jump": float64(jump), "settle": float64(settle)})
	read := func(name string) []float32 {
		v := l.Store().Lookup(name)
		require.NotNil(t, v, name)
		return v.F32
	}
	in := func(context int) *gated {
		return &gated{
			in: shared.Input.Elems(), hidden: hidden, out: 2,
			w1: wide(read("net/hidden1/weight")), b1: wide(read("net/hidden1/bias")), w2: wide(read("net/output/weight")), b2: wide(read("net/output/bias")),
			p: wide(read("net/hidden1/adapter0/gate")[context*hidden : (context+1)*hidden]),
		}
	}
	batch := func(task int, k int64) *stream.Batch {
		b := examples(shared, 0, k)
		for i := range b.Labels {
			b.Labels[i] = (b.Labels[i] + int32(task)) % 2
		}
		b.Task = task
		return b
	}
	active, losses := 0, [][]float64{nil}
	jumps := func(context int, loss float64) bool {
		last, sum := losses[context], 0.0
		last = last[max(0, len(last)-50):]
		for _, v := range last {
			sum += v
		}
		return loss > jump*sum/float64(len(last))
	}
	var ends []int
	for task := range 4 {
		var s *learner.Step
		for k := range shared.StepsPerTask {
			b := batch(task, k)
			loss := in(active).loss(b)
			if len(losses[active]) >= settle && jumps(active, loss) {
				next := len(losses)
				for k := range losses {
					if k != active && !jumps(k, in(k).loss(b)) {
						next = k
						break
					}
				}
				if next == len(losses) {
					losses = append(losses, nil)
				}
				active = next
				loss = in(active).loss(b)
			}
			losses[active] = append(losses[active], loss)
			before := append([]float32(nil), read("net/hidden1/adapter0/gate")...)
			s = &learner.Step{Index: int64(task)*shared.StepsPerTask + k, Task: task, TaskStep: k, Batch: b}
			require.NoError(t, l.Step(s))
			require.Equal(t, int32(active), l.Store().Lookup("method/gateon/active").I32[0], "task %d step %d", task, k)
			for i, v := range read("net/hidden1/adapter0/gate") {
				if i/hidden != active {
					require.Equal(t, before[i], v, "gates of another context")
				}
			}
		}
		require.NoError(t, l.EndTask(s))
		ends = append(ends, active)
	}
	require.Equal(t, []int{0, 1, 0, 1}, ends)
	require.Len(t, losses, 2)
	for task, context := range []int{0, 1, 0, 1, 1} { // the last one is to come
		b := batch(task, 1000)
		e, err := l.Evaluate(b)
		require.NoError(t, err)
		var mean float64
		for _, v := range e.Losses {
			mean += float64(v) / float64(b.N)
		}
		require.InDelta(t, in(context).loss(b), mean, 1e-4, "task %d", task)
	}
}

// TestGateONOnChannels: gates of channels and relevance over places.
func TestGateONOnChannels(t *testing.T) {
	l := newLearner(t, heads, smallCNN, object{"kind": "adam", "lr": 0.01}, object{"kind": "gateon", "contexts": 4.0})
	for task := range heads.Tasks {
		learn(t, l, heads, task)
		_, accuracy := answers(t, l, heads, task)
		require.Greater(t, accuracy, 0.8)
	}
	answers(t, l, heads, 5) // a task without gates can be looked at
	for _, layer := range []string{"conv1", "conv2", "hidden1"} {
		moved := 0
		for _, a := range l.Store().Lookup("method/gateon/availability/" + layer).F32 {
			require.True(t, a >= 0 && a <= 1)
			if a < 0.9 {
				moved++
			}
		}
		require.NotZero(t, moved, layer)
	}
}
