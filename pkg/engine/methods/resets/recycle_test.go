package resets

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/methods/internal/recycle"
	"neoteny/pkg/engine/stream"
)

// cbpOracle is continual backprop written a second time from its pseudo-code,
// in float64, neuron by neuron, with weights [out][in].
type cbpOracle struct {
	rho, eta           float64
	m                  int
	adaptable, accum   bool
	paper              bool
	w                  [][][]float64 // per layer, the output layer last
	b                  [][]float64
	age                [][]int
	u, f               [][]float64
	acc                []float64
	draw               func(layer int) float64
	replaced           int
	compensatedLargest float64
}

// step returns the units to replace of every layer, and does everything but
// drawing their new incoming weights.
func (o *cbpOracle) step(h [][][]float64) [][]int {
	chosen := make([][]int, len(h))
	hat := make([][]float64, len(h))
	for l := range h {
		units := len(h[l][0])
		hat[l] = make([]float64, units)
		util := make([]float64, units)
		for i := range units {
			o.age[l][i]++
			bc := 1 - math.Pow(o.eta, float64(o.age[l][i]))
			mean := 0.0
			for _, row := range h[l] {
				mean += row[i]
			}
			mean /= float64(len(h[l]))
			o.f[l][i] = o.eta*o.f[l][i] + (1-o.eta)*mean
			hat[l][i] = o.f[l][i] / bc
			contribution := 0.0
			for _, row := range h[l] {
				if o.adaptable {
					contribution += math.Abs(row[i] - hat[l][i])
				} else {
					contribution += math.Abs(row[i])
				}
			}
			contribution /= float64(len(h[l]))
			out, in := 0.0, 0.0
			for k := range o.w[l+1] {
				out += math.Abs(o.w[l+1][k][i])
			}
			for j := range o.w[l][i] {
				in += math.Abs(o.w[l][i][j])
			}
			y := out / float64(len(o.w[l+1])) * contribution
			if o.adaptable {
				y /= in / float64(len(o.w[l][i]))
			}
			o.u[l][i] = o.eta*o.u[l][i] + (1-o.eta)*y
			util[i] = o.u[l][i] / bc
		}
		eligible := map[int]bool{}
		for i, a := range o.age[l] {
			if a > o.m {
				eligible[i] = true
			}
		}
		if len(eligible) == 0 {
			continue
		}
		n := o.rho * float64(len(eligible))
		k := 0
		if o.accum {
			o.acc[l] += n
			k = int(o.acc[l])
			o.acc[l] -= float64(k)
		} else if n >= 1 {
			k = int(n)
		} else if o.draw(l) < n {
			k = 1
		}
		for range k {
			best := -1
			for i := range units {
				if eligible[i] && (best < 0 || util[i] < util[best]) {
					best = i
				}
			}
			delete(eligible, best)
			chosen[l] = append(chosen[l], best)
		}
	}
	for l := range chosen {
		for _, i := range chosen[l] {
			o.replaced++
			for k := range o.w[l+1] {
				if o.paper {
					o.b[l+1][k] += o.w[l+1][k][i] * hat[l][i]
					o.compensatedLargest = math.Max(o.compensatedLargest, math.Abs(o.w[l+1][k][i]*hat[l][i]))
				}
				o.w[l+1][k][i] = 0
			}
			o.b[l][i], o.age[l][i], o.u[l][i], o.f[l][i] = 0, 0, 0, 0
		}
	}
	return chosen
}

func layerName(l, layers int) string {
	if l == layers-1 {
		return "output"
	}
	return fmt.Sprintf("hidden%d", l+1)
}

// read copies the network's parameters into the oracle.
func (o *cbpOracle) read(b *methodtest.Bench) {
	for l := range o.w {
		w, bias := b.Param(layerName(l, len(o.w))+"/weight").Var.F32, b.Param(layerName(l, len(o.w))+"/bias").Var.F32
		for i := range o.w[l] {
			o.b[l][i] = float64(bias[i])
			for j := range o.w[l][i] {
				o.w[l][i][j] = float64(w[j*len(bias)+i])
			}
		}
	}
}

func TestContinualBackpropAgainstOracle(t *testing.T) {
	hidden := []int{7, 5, 6}
	sizes := []int{4, 7, 5, 6, 3}
	for _, utility := range []string{"adaptable-contribution", "contribution"} {
		for _, compensation := range []string{"paper", "reference-code"} {
			for _, accumulate := range []bool{true, false} {
				for _, rate := range []float64{0.02, 0.4} {
					for _, batch := range []int{1, 4} {
						name := fmt.Sprintf("%s %s accumulate=%v rate=%v batch=%d", utility, compensation, accumulate, rate, batch)
						t.Run(name, func(t *testing.T) {
							b := methodtest.New(t, 11, []any{7.0, 5.0, 6.0}, "kaiming-uniform")
							m := b.Method(map[string]any{
								"kind": "continual-backprop", "replacement_rate": rate, "decay": 0.9, "maturity": 8.0,
								"utility": utility, "bias_compensation": compensation, "accumulate": accumulate,
							}).(method.AfterStep)
							s := &learner.Step{Batch: &stream.Batch{N: batch}}
							o := &cbpOracle{
								rho: rate, eta: 0.9, m: 8, adaptable: utility == "adaptable-contribution",
								accum: accumulate, paper: compensation == "paper", acc: make([]float64, 3),
								draw: func(l int) float64 {
									return float64(b.Key(fmt.Sprintf("method/continual-backprop/replace/hidden%d", l+1)).Float32(uint64(s.Index), 0))
								},
							}
							for l := range sizes[1:] {
								w := make([][]float64, sizes[l+1])
								for i := range w {
									w[i] = make([]float64, sizes[l])
								}
								o.w, o.b = append(o.w, w), append(o.b, make([]float64, sizes[l+1]))
							}
							for _, n := range hidden {
								o.age, o.u, o.f = append(o.age, make([]int, n)), append(o.u, make([]float64, n)), append(o.f, make([]float64, n))
								s.Features = append(s.Features, make([]float32, n*batch))
							}
							for s.Index = range int64(300) {
								// What a learner would have done: other weights, other features.
								for i, p := range b.Net.Params() {
									noise := make([]float32, p.Var.Len())
									b.Key("train").FillNormal(noise, uint64(s.Index)*100+uint64(i))
									for j := range noise {
										p.Var.F32[j] += 0.02 * noise[j]
									}
								}
								o.read(b)
								h := make([][][]float64, 3)
								for l, n := range hidden {
									b.Key("features").FillNormal(s.Features[l], uint64(s.Index)*10+uint64(l))
									for r := range batch {
										row := make([]float64, n)
										for i := range row {
											v := max(s.Features[l][r*n+i]+0.2*float32(i)-0.3, 0) // some units are quiet
											s.Features[l][r*n+i], row[i] = v, float64(v)
										}
										h[l] = append(h[l], row)
									}
								}
								var before [][]float32
								for l := range hidden {
									before = append(before, methodtest.Clone(b.Param(fmt.Sprintf("hidden%d/weight", l+1)).Var.F32))
								}
								chosen := o.step(h)
								require.NoError(t, m.AfterStep(s))

								// Incoming weights are the method's to draw: the oracle takes
								// them over.
								for l := range chosen {
									w := b.Param(fmt.Sprintf("hidden%d/weight", l+1)).Var.F32
									bound := math.Sqrt2*math.Sqrt(3/float64(sizes[l])) + 1e-6
									for _, i := range chosen[l] {
										for j := range sizes[l] {
											v := float64(w[j*hidden[l]+i])
											require.LessOrEqual(t, math.Abs(v), bound)
											require.NotEqual(t, before[l][j*hidden[l]+i], w[j*hidden[l]+i], "step %d: unit %d of layer %d was not drawn afresh", s.Index, i, l)
											o.w[l][i][j] = v
										}
									}
								}
								for l := range o.w {
									layer := layerName(l, len(o.w))
									w, bias := b.Param(layer+"/weight").Var.F32, b.Param(layer+"/bias").Var.F32
									for i := range o.w[l] {
										require.InDelta(t, o.b[l][i], bias[i], 1e-5, "step %d bias %s[%d]", s.Index, layer, i)
										for j := range o.w[l][i] {
											require.Equal(t, float32(o.w[l][i][j]), w[j*len(bias)+i], "step %d %s [%d][%d]", s.Index, layer, i, j)
										}
									}
								}
								for l, n := range hidden {
									state := func(name string) []float64 {
										return b.Store.Lookup(fmt.Sprintf("method/continual-backprop/hidden%d/%s", l+1, name)).F64
									}
									for i := range n {
										require.Equal(t, float64(o.age[l][i]), state("age")[i])
										require.InDelta(t, o.u[l][i], state("utility")[i], 1e-5*math.Max(1, o.u[l][i]))
										require.InDelta(t, o.f[l][i], state("activation")[i], 1e-9)
									}
									require.InDelta(t, o.acc[l], state("due")[0], 1e-9)
								}
							}
							require.Greater(t, o.replaced, 20)
							if o.paper {
								require.Greater(t, o.compensatedLargest, 0.01, "compensation must matter in this test")
							}
						})
					}
				}
			}
		}
	}
}

func TestReplacedTwiceDrawsAfresh(t *testing.T) {
	b := methodtest.New(t, 1, []any{3.0}, "pytorch")
	r := recycle.New(method.Env{States: b.Tracer.States, Key: b.Key}, b.Net.Units()[0])
	column := func(unit int) (c [4]float32) {
		for j := range c {
			c[j] = b.Param("hidden1/weight").Var.F32[j*3+unit]
		}
		return c
	}
	seen := map[[4]float32]bool{column(1): true}
	for _, at := range []struct {
		step int64
		unit int
	}{{5, 1}, {6, 1}, {5, 2}, {6, 0}, {1 << 40, 1}} {
		r.Recycle(at.step, at.unit)
		c := column(at.unit)
		require.False(t, seen[c], "%v drew what was drawn before", at)
		seen[c] = true
		require.Zero(t, b.Param("hidden1/bias").Var.F32[at.unit], "bias 0 under any initialiser")
		require.Equal(t, []float32{0, 0, 0}, b.Param("output/weight").Var.F32[at.unit*3:at.unit*3+3])
	}
	again := recycle.New(method.Env{States: b.Tracer.States, Key: b.Key}, b.Net.Units()[0])
	last := column(1)
	again.Recycle(5, 1)
	require.NotEqual(t, last, column(1))
	again.Recycle(1<<40, 1)
	require.Equal(t, last, column(1), "a draw is a function of step and unit")
}

// Optimiser state of a recycled unit goes back to its start, and no other.
func TestRecyclingResetsOptimiserState(t *testing.T) {
	for _, optimizer := range []string{"adam", "momentum"} {
		b := methodtest.New(t, 1, []any{3.0}, "pytorch")
		b.Method(map[string]any{"kind": "continual-backprop"})
		for _, p := range b.Net.Params() {
			prog := b.Update(p, nil, map[string]any{"kind": optimizer})
			for i := range prog.Input("g") {
				prog.Input("g")[i] = 1
			}
			prog.Run(0)
		}
		recycle.New(method.Env{States: b.Tracer.States, Key: b.Key}, b.Net.Units()[0]).Recycle(1, 1)
		states := []string{"velocity"}
		if optimizer == "adam" {
			states = []string{"m", "v", "correction1", "correction2"}
		}
		for _, st := range states {
			of := func(param string, i int) float32 { return b.Store.Lookup("optimizer/" + st + "/net/" + param).F32[i] }
			for j := range 4 {
				require.NotZero(t, of("hidden1/weight", j*3))
				require.Zero(t, of("hidden1/weight", j*3+1), st)
				require.NotZero(t, of("hidden1/weight", j*3+2))
			}
			for k := range 3 {
				require.NotZero(t, of("output/weight", k))
				require.Zero(t, of("output/weight", 3+k), st)
				require.NotZero(t, of("output/weight", 6+k))
				require.NotZero(t, of("output/bias", k))
			}
			require.NotZero(t, of("hidden1/bias", 0))
			require.Zero(t, of("hidden1/bias", 1), st)
		}
	}
}

func TestUnitThatReadsNothingIsUseless(t *testing.T) {
	b := methodtest.New(t, 1, []any{2.0}, "pytorch")
	m := b.Method(map[string]any{"kind": "continual-backprop", "replacement_rate": 1e-9}).(method.AfterStep)
	w := b.Param("hidden1/weight").Var.F32
	for j := range 4 {
		w[j*2] = 0
	}
	for i := range int64(5) {
		s := &learner.Step{Index: i, Batch: &stream.Batch{N: 1}, Features: [][]float32{{float32(i), float32(i)}}}
		require.NoError(t, m.AfterStep(s))
	}
	u := b.Store.Lookup("method/continual-backprop/hidden1/utility").F64
	require.Zero(t, u[0])
	require.Positive(t, u[1])
}

// ReDo by hand: layer of 4 units, window of 2 steps of batches of 2.
func TestReDoByHand(t *testing.T) {
	spec := map[string]any{"kind": "redo", "period": 4.0, "window": 2.0, "threshold": 0.25}
	b := methodtest.New(t, 1, []any{4.0}, "kaiming-uniform")
	m := b.Method(spec).(method.AfterStep)
	b.Key("bias").FillUniform(b.Param("hidden1/bias").Var.F32, 1, 2, 0)
	before := methodtest.Clone(b.Param("hidden1/weight").Var.F32)
	step := func(index int64, a, b2 []float32) {
		s := &learner.Step{Index: index, Batch: &stream.Batch{N: 2}, Features: [][]float32{append(methodtest.Clone(a), b2...)}}
		require.NoError(t, m.AfterStep(s))
	}
	wild := []float32{0, 0, 0, 9}
	step(0, wild, wild) // outside of the window
	step(1, wild, wild)
	step(2, []float32{1, 0, 2, 0}, []float32{1, 0, 2, 0})
	require.Equal(t, before, b.Param("hidden1/weight").Var.F32, "no check yet")
	// Sums 8, 0, −4 → |4|…: mean|h| = 3, 0, 2, 0.3 of mean 1.325; relative 2.26, 0, 1.51, 0.226.
	step(3, []float32{5, 0, -2, 0}, []float32{5, 0, 2, 1.2})
	bias, out := b.Param("hidden1/bias").Var.F32, b.Param("output/weight").Var.F32
	for i, dormant := range []bool{false, true, false, true} {
		require.Equal(t, dormant, bias[i] == 0, "bias of unit %d", i)
		for k := range 3 {
			require.Equal(t, dormant, out[i*3+k] == 0, "outgoing weights of unit %d", i)
		}
		for j := range 4 {
			require.Equal(t, dormant, before[j*4+i] != b.Param("hidden1/weight").Var.F32[j*4+i], "incoming weights of unit %d", i)
		}
	}
	require.Equal(t, make([]float64, 4), b.Store.Lookup("method/redo/hidden1/active").F64, "the window is over")

	// Just above the threshold: a unit with relative activity 0.4 / 1.35 stays.
	after := methodtest.Clone(b.Param("hidden1/weight").Var.F32)
	step(6, []float32{1, 2, 2, 0.4}, []float32{1, 2, 2, 0.4})
	step(7, []float32{1, 2, 2, 0.4}, []float32{1, 2, 2, 0.4})
	require.Equal(t, after, b.Param("hidden1/weight").Var.F32)
}

func TestReDoThresholdZeroTakesDeadUnitsOnly(t *testing.T) {
	b := methodtest.New(t, 1, []any{3.0}, "kaiming-uniform")
	m := b.Method(map[string]any{"kind": "redo", "period": 1.0, "window": 1.0, "threshold": 0.0}).(method.AfterStep)
	before := methodtest.Clone(b.Param("output/weight").Var.F32)
	s := &learner.Step{Batch: &stream.Batch{N: 1}, Features: [][]float32{{1e-30, 0, 5}}}
	require.NoError(t, m.AfterStep(s))
	out := b.Param("output/weight").Var.F32
	require.Equal(t, before[:3], out[:3])
	require.Equal(t, []float32{0, 0, 0}, out[3:6])
	require.Equal(t, before[6:], out[6:])
}

func TestStepsDoNotAllocate(t *testing.T) {
	for _, spec := range []map[string]any{
		{"kind": "continual-backprop", "replacement_rate": 0.5, "maturity": 1.0},
		{"kind": "redo", "period": 1.0, "window": 1.0, "threshold": 0.5},
		{"kind": "shrink-and-perturb", "preset": "kumar-permuted-mnist-adam"},
	} {
		b := methodtest.New(t, 1, []any{30.0, 20.0}, "pytorch")
		m := b.Method(spec).(method.AfterStep)
		s := &learner.Step{Batch: &stream.Batch{N: 1}, Features: [][]float32{make([]float32, 30), make([]float32, 20)}}
		require.Zero(t, testing.AllocsPerRun(20, func() {
			s.Index++
			b.Key("features").FillUniform(s.Features[0], 0, 1, uint64(s.Index))
			b.Key("features").FillUniform(s.Features[1], 0, 1, uint64(s.Index))
			if err := m.AfterStep(s); err != nil {
				t.Error(err)
			}
		}), spec["kind"])
	}
}

func BenchmarkContinualBackprop784x100(b *testing.B) {
	t := &testing.T{}
	bn := methodtest.New(t, 1, []any{784.0, 100.0, 100.0}, "kaiming-uniform")
	m := bn.Method(map[string]any{"kind": "continual-backprop"}).(*continualBackprop)
	l := m.layers[1] // 784 in, 100 units, 100 out
	h := make([]float32, 100)
	for b.Loop() {
		l.measure(h)
	}
}
