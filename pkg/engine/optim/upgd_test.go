package optim

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
)

// upgdOracle is UPGD a second time, in float64 and weight by weight, after the
// published code, with its maximum or the paper's.
type upgdOracle struct {
	lr, decay, beta, sigma float64
	protect, local, paper  bool
	adam                   bool
	beta1, beta2, epsilon  float64
	t                      int
	w, utility, m, v       [][]float64
}

// step updates by gradients g and noise xi; columns are the units of a matrix,
// 0 for a vector.
func (o *upgdOracle) step(g, xi [][]float64, columns []int) {
	o.t++
	correction := func(beta float64) float64 { return 1 - math.Pow(beta, float64(o.t)) }
	largest := math.Inf(-1)
	for p := range o.w {
		for i := range o.w[p] {
			o.utility[p][i] = o.beta*o.utility[p][i] - (1-o.beta)*g[p][i]*o.w[p][i]
			largest = math.Max(largest, o.utility[p][i])
		}
	}
	if o.paper {
		largest /= correction(o.beta)
	}
	for p := range o.w {
		for i := range o.w[p] {
			scaled := o.utility[p][i] / correction(o.beta)
			if o.local {
				norm := 0.0
				for j := range o.w[p] {
					if columns[p] == 0 || i%columns[p] == j%columns[p] {
						norm += math.Pow(o.utility[p][j]/correction(o.beta), 2)
					}
				}
				scaled /= math.Max(math.Sqrt(norm), 1e-12)
			} else {
				scaled /= largest
			}
			s := 1 / (1 + math.Exp(-scaled))
			d := g[p][i]
			if o.adam {
				o.m[p][i] = o.beta1*o.m[p][i] + (1-o.beta1)*d
				o.v[p][i] = o.beta2*o.v[p][i] + (1-o.beta2)*d*d
				d = o.m[p][i] / correction(o.beta1) / (math.Sqrt(o.v[p][i]/correction(o.beta2)) + o.epsilon)
			}
			if o.protect {
				d = (d + o.sigma*xi[p][i]) * (1 - s)
			} else {
				d += o.sigma * xi[p][i] * (1 - s)
			}
			o.w[p][i] = o.w[p][i]*(1-o.lr*o.decay) - o.lr*d
		}
	}
}

// upgdRig is a program that updates a 5×3 matrix and a vector of 3.
type upgdRig struct {
	params  []*nn.Param
	tracer  *Tracer
	program *graph.Program
}

func newUPGDRig(t *testing.T, raw map[string]any, perWeight bool) *upgdRig {
	r, err := Resolve("o", raw)
	require.NoError(t, err)
	o, err := r.Build(Env{})
	require.NoError(t, err)
	store := graph.NewStore()
	rig := &upgdRig{tracer: NewTracer(store, graph.OfOptimizer, func(purpose string) rng.Key { return rng.New(1, purpose) })}
	rig.tracer.States.PerWeight = perWeight
	b := graph.NewBuilder()
	var us []*Update
	for i, shape := range [][]int{{5, 3}, {3}} {
		p := &nn.Param{Var: store.New(fmt.Sprintf("w%d", i), graph.F32, graph.Persistent, shape...)}
		rng.New(2, p.Var.Name).FillUniform(p.Var.F32, -1, 1, 0)
		rig.params = append(rig.params, p)
		us = append(us, rig.tracer.Update(b, p, store.Space(graph.OfOptimizer, "optimizer"), b.Read(p.Var), b.Input(fmt.Sprintf("g%d", i), shape...)))
	}
	if h, ok := o.(Preparer); ok {
		h.Prepare(us)
	}
	for _, u := range us {
		b.Assign(u.Param.Var, o.Update(u))
	}
	rig.program = b.Compile()
	return rig
}

// step fills in the gradients of a step, runs it and returns gradients and
// noise.
func (r *upgdRig) step(k int) (g, xi [][]float64) {
	for i, p := range r.params {
		in := r.program.Input(fmt.Sprintf("g%d", i))
		noise := make([]float32, len(in))
		r.tracer.Key("optimizer/noise/"+p.Var.Name).FillNormal(noise, uint64(k))
		gi, xii := make([]float64, len(in)), make([]float64, len(in))
		for j := range in {
			in[j] = float32(math.Sin(float64(7*k + 3*j + 11*i)))
			gi[j], xii[j] = float64(in[j]), float64(noise[j])
		}
		g, xi = append(g, gi), append(xi, xii)
	}
	r.program.Run(uint64(k))
	return g, xi
}

func TestUPGDAgainstThePublishedCodeInFloat64(t *testing.T) {
	for _, kind := range []string{"upgd", "adaptive-upgd"} {
		for _, protect := range []bool{true, false} {
			for _, scaling := range []string{"global", "local"} {
				for _, maximum := range []string{"corrected", "reference-code"} {
					for _, perWeight := range []bool{true, false} {
						name := fmt.Sprintf("%s protect %v, %s, %s, per weight %v", kind, protect, scaling, maximum, perWeight)
						raw := map[string]any{
							"kind": kind, "lr": 0.05, "weight_decay": 0.3, "beta": 0.9, "sigma": 0.4,
							"protect": protect, "scaling": scaling, "maximum": maximum,
						}
						if kind == "adaptive-upgd" {
							raw["beta1"], raw["beta2"], raw["epsilon"] = 0.8, 0.95, 1e-3
						}
						rig := newUPGDRig(t, raw, perWeight)
						o := &upgdOracle{
							lr: 0.05, decay: 0.3, beta: 0.9, sigma: 0.4, protect: protect, local: scaling == "local", paper: maximum == "corrected",
							adam: kind == "adaptive-upgd", beta1: 0.8, beta2: 0.95, epsilon: 1e-3,
						}
						for _, p := range rig.params {
							w := make([]float64, len(p.Var.F32))
							for i, v := range p.Var.F32 {
								w[i] = float64(v)
							}
							zeros := func() []float64 { return make([]float64, len(w)) }
							o.w, o.utility, o.m, o.v = append(o.w, w), append(o.utility, zeros()), append(o.m, zeros()), append(o.v, zeros())
						}
						for k := range 12 {
							g, xi := rig.step(k)
							o.step(g, xi, []int{3, 0})
							for i, p := range rig.params {
								for j, w := range p.Var.F32 {
									require.InDelta(t, o.w[i][j], w, 5e-6, "%s: parameter %d, weight %d after step %d", name, i, j, k)
								}
							}
						}
					}
				}
			}
		}
	}
}

// Without noise, decay and protection nothing is left but gradient descent.
func TestUPGDWithoutAnyOfItIsSGD(t *testing.T) {
	plain := newUPGDRig(t, map[string]any{"kind": "sgd", "lr": 0.05}, false)
	inert := newUPGDRig(t, map[string]any{"kind": "upgd", "lr": 0.05, "weight_decay": 0, "sigma": 0, "protect": false}, false)
	for k := range 20 {
		plain.step(k)
		inert.step(k)
		for i := range plain.params {
			require.Equal(t, plain.params[i].Var.F32, inert.params[i].Var.F32)
		}
	}
}

// Weights whose gradients are all 0 have no utility: half of each step is left.
func TestUPGDWithoutUtilities(t *testing.T) {
	rig := newUPGDRig(t, map[string]any{"kind": "upgd", "lr": 0.5, "weight_decay": 0, "sigma": 1}, false)
	before := append([]float32(nil), rig.params[1].Var.F32...)
	clear(rig.program.Input("g0"))
	clear(rig.program.Input("g1"))
	rig.program.Run(3)
	noise := make([]float32, 3)
	rig.tracer.Key("optimizer/noise/w1").FillNormal(noise, 3)
	for j, w := range rig.params[1].Var.F32 {
		require.InDelta(t, before[j]-0.25*noise[j], w, 1e-6)
	}
}
