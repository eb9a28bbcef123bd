package architecture

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// values64 returns the values of hidden layers of 4 inputs, with biases, whose
// weights are in order.
func values64(weights, biases [][]float32, x []float32) (layers [][]float64) {
	var from []float64
	for _, v := range x {
		from = append(from, float64(v))
	}
	for i, w := range weights {
		n := len(biases[i])
		to := make([]float64, n)
		for j := range to {
			to[j] = float64(biases[i][j])
			for k, v := range from {
				to[j] += v * float64(w[k*n+j])
			}
			to[j] = math.Max(to[j], 0)
		}
		layers, from = append(layers, to), to
	}
	return layers
}

// sharpBench has a network of three hidden layers, and steps of two classes a task.
func sharpBench(t *testing.T, spec map[string]any) (b *methodtest.Bench, m method.Method, weights, biases [][]float32, ages [][]int32) {
	b = methodtest.New(t, 11, []any{14, 12, 10}, "pytorch")
	b.Batch, b.Classes = 6, 6
	spec["kind"] = "sharp"
	m = b.Method(spec)
	for _, l := range []string{"hidden1", "hidden2", "hidden3"} {
		weights = append(weights, b.Param(l+"/weight").Var.F32)
		biases = append(biases, b.Param(l+"/bias").Var.F32)
		ages = append(ages, b.Store.Lookup("method/sharp/age/"+l).I32)
	}
	return b, m, weights, biases, ages
}

func sharpStep(task int, step int64) *learner.Step {
	batch := &stream.Batch{N: 6, X: make([]float32, 24), Labels: make([]int32, 6), Task: task}
	rng.New(4, "x").FillNormal(batch.X, uint64(task)<<20|uint64(step))
	for i := range batch.Labels {
		batch.Labels[i] = int32(2*task + i%2)
	}
	return &learner.Step{Index: int64(task)*10 + step, Task: task, TaskStep: step, LastStep: step == 9, Batch: batch}
}

func TestSHARPSelectsDropsAndGrows(t *testing.T) {
	const annealing, least = 6.0, 0.3
	b, m, weights, biases, ages := sharpBench(t, map[string]any{
		"phases": 5.0, "annealing": annealing, "least": least, "sparsity": 0.5, "stored": 2.0, "neighbors": 1.0,
	})
	links := func(l int) []float32 {
		return b.Store.Lookup("method/sharp/links/" + []string{"hidden1", "hidden2", "hidden3"}[l]).F32
	}
	drops, grown := 0, 0
	for task := range 3 {
		for step := range int64(10) {
			s := sharpStep(task, step)
			var was [][]int32
			var linked [][]float32
			for l := range ages {
				was, linked = append(was, slices.Clone(ages[l])), append(linked, methodtest.Clone(links(l)))
			}
			mean := [][]float64{make([]float64, 14), make([]float64, 12), make([]float64, 10)}
			for i := range 6 {
				for l, values := range values64(weights, biases, s.Batch.X[4*i:4*i+4]) {
					for u, v := range values {
						mean[l][u] += v / 6
					}
				}
			}
			require.NoError(t, m.(method.Batcher).Batch(s))
			for l := range ages {
				want := slices.Clone(was[l])
				if step%2 == 0 { // a phase of two steps begins
					part := math.Max(0.5*(1+math.Cos(math.Pi*math.Max(float64(step/2)+1, 2)/annealing)), least)
					total, sum := 0.0, 0.0
					for u, v := range mean[l] {
						total += v
						want[u] = was[l][u]
						if was[l][u] == 1 {
							want[u] = 0
						}
					}
					for sum < part*total {
						best := -1
						for u, v := range mean[l] {
							if v >= 0 && (best < 0 || v > mean[l][best]) {
								best = u
							}
						}
						sum += mean[l][best]
						mean[l][best] = -1
						want[best] = max(want[best], 1)
					}
				}
				require.Equal(t, want, ages[l], "task %d, step %d, layer %d", task, step, l)
				if l == 0 || step%2 == 1 {
					require.Equal(t, linked[l], links(l))
					continue
				}
				n, lost, won, room := len(ages[l]), 0, 0, 0
				for k, now := range links(l) {
					from, to := ages[l-1][k/n], ages[l][k%n]
					if to == 0 && linked[l][k] == 0 {
						room++
					}
					switch {
					case from == 0 && to != 0:
						require.Zero(t, now, "nothing selected reads what is not")
						require.Zero(t, weights[l][k])
						if linked[l][k] == 1 {
							lost++
						}
					case linked[l][k] == 1:
						require.EqualValues(t, 1, now)
					case now == 1:
						require.Zero(t, to, "links grow into free units")
						require.Zero(t, weights[l][k])
						won++
					}
				}
				require.Equal(t, min(lost, room), won)
				drops, grown = drops+lost, grown+won
			}
			require.NoError(t, m.(method.AfterStep).AfterStep(s))
			if step == 9 {
				for l := range ages {
					frozen := b.Store.Lookup("method/sharp/frozen_bias/" + []string{"hidden1", "hidden2", "hidden3"}[l]).F32
					for u, age := range ages[l] {
						require.NotEqual(t, int32(1), age)
						require.Equal(t, age >= 3 || l == 0 && age == 2, frozen[u] == 1)
					}
				}
			}
		}
	}
	require.NotZero(t, drops)
	require.NotZero(t, grown)
}

// TestSHARPAnswersAndLoss computes votes and loss after three tasks again.
func TestSHARPAnswersAndLoss(t *testing.T) {
	const stored, k, temperature, replay = 3, 3, 0.2, 5
	b, m, weights, biases, ages := sharpBench(t, map[string]any{
		"phases": 2.0, "sparsity": 0.3, "least": 0.5, "annealing": 3.0, "stored": stored, "neighbors": k, "replay": replay, "temperature": temperature,
	})
	memory := map[int][][]float32{} // examples of a class
	for task := range 3 {
		for step := range int64(10) {
			s := sharpStep(task, step)
			require.NoError(t, m.(method.Batcher).Batch(s))
			for i, c := range s.Batch.Labels {
				if len(memory[int(c)]) < stored {
					memory[int(c)] = append(memory[int(c)], s.Batch.X[4*i:4*i+4])
				}
			}
			require.NoError(t, m.(method.AfterStep).AfterStep(s))
		}
	}
	s := sharpStep(2, 30)
	require.NoError(t, m.(method.Batcher).Batch(s))

	g := graph.NewBuilder()
	x := g.Input("x", 6, 4)
	g.Labels("labels", 6)
	net := b.Net.Forward(g, x, nn.Training)
	learners := g.Mean(g.Input("losses", 6))
	g.Output("loss", m.(method.Losser).Loss(&method.Trace{B: g, X: x, Net: net, Network: b.Net, Loss: learners}))
	net.Output = g.Input("logits", 6, 6)
	g.Output("votes", m.(method.Evaluator).Evaluate(g, net))
	p := g.Compile()
	copy(p.Input("x"), s.Batch.X)
	copy(p.Labels("labels"), s.Batch.Labels)
	fill(p.Input("losses"), 0.5)
	p.Run(0)

	// Votes. Of classes 0 to 3 units of age 3 count: no weight has moved since,
	// and these read nothing younger.
	normalized := func(f []float64, least func(u int) bool) []float64 {
		square, out := 0.0, make([]float64, len(f))
		for u, v := range f {
			if least(u) {
				out[u] = v
				square += v * v
			}
		}
		for u := range out {
			out[u] /= math.Sqrt(square + 1e-12)
		}
		return out
	}
	for i := range 6 {
		type neighbor struct {
			class    int
			distance float64
		}
		var all []neighbor
		for c := range 6 {
			old := make([]bool, 10) // what counts for the class
			any := false
			for u, age := range ages[2] {
				// 2 tasks after class 0 its units are of age 4, and those that
				// counted when it was computed again of age 3 then.
				old[u] = b.Store.Lookup("method/sharp/counts").F32[c*10+u] == 1
				if c >= 4 {
					require.Equal(t, age >= 2, old[u])
				} else if c >= 2 {
					require.Equal(t, age >= 3, old[u])
				}
				any = any || old[u]
			}
			require.True(t, any)
			counts := func(u int) bool { return old[u] }
			query := normalized(values64(weights, biases, s.Batch.X[4*i:4*i+4])[2], counts)
			for _, x := range memory[c] {
				known, d := normalized(values64(weights, biases, x)[2], counts), 0.0
				for u := range known {
					d += (known[u] - query[u]) * (known[u] - query[u])
				}
				all = append(all, neighbor{c, d})
			}
		}
		slices.SortStableFunc(all, func(a, b neighbor) int {
			if a.distance < b.distance {
				return -1
			}
			return 1
		})
		if all[k].distance-all[k-1].distance < 0.02 { // activations have 8 bits
			continue
		}
		want := make([]float32, 6)
		for _, a := range all[:k] {
			want[a.class]++
		}
		require.Equal(t, want, p.Output("votes")[6*i:6*i+6], "example %d: %v", i, all)
	}

	// The loss.
	var z [][]float64
	var class []int
	selected := func(u int) bool { return ages[2][u] > 0 }
	for i := range 6 {
		z = append(z, normalized(values64(weights, biases, s.Batch.X[4*i:4*i+4])[2], selected))
		class = append(class, int(s.Batch.Labels[i]))
	}
	for r := range replay {
		h := b.Store.Lookup("method/sharp/replayed").F32[14*r : 14*r+14]
		c := slices.Index(b.Store.Lookup("method/sharp/replayed_of").F32[6*r:6*r+6], 1)
		require.Contains(t, []int{4, 5}, c, "of the last task only")
		near := math.Inf(1)
		for _, x := range memory[c] {
			far := 0.0
			for u, v := range values64(weights[:1], biases[:1], x)[0] {
				far = math.Max(far, math.Abs(v-float64(h[u])))
			}
			near = math.Min(near, far)
		}
		require.Less(t, near, 0.02, "an activation of the memory, in 8 bits")
		z = append(z, normalized(values64(weights[1:], biases[1:], h)[1], selected))
		class = append(class, c)
	}
	want, anchors := 0.0, 0.0
	for i := range z {
		sum, mean, n := 0.0, 0.0, 0.0
		for j := range z {
			if i == j {
				continue
			}
			dot := 0.0
			for u := range z[i] {
				dot += z[i][u] * z[j][u]
			}
			sum += math.Exp(dot / temperature)
			if class[i] == class[j] {
				mean += dot / temperature
				n++
			}
		}
		if n > 0 {
			want += math.Log(sum) - mean/n
			anchors++
		}
	}
	require.InDelta(t, want/anchors-0.5, float64(p.Output("loss")[0]), 1e-4)
}
