package regularise

import (
	"math"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "wasserstein",
		Paper:   "Lewandowski, Tanaka, Schuurmans & Machado 2023, Directions of Curvature as an Explanation for Loss of Plasticity",
		Summary: "the distribution of each layer's weights is pulled to that of the start of the run",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"lambda": 0.01}},
	}, wassersteinConfig{Lambda: 1e-2}, nil, newWasserstein)
}

type wassersteinConfig struct {
	Lambda float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
}

func (c wassersteinConfig) Validate() error { return check.Range("lambda", c.Lambda, 0, 1e6) }

// wasserstein adds to the loss, for every parameter array, the squared
// 2-Wasserstein distance of its elements from those before the first step,
// times their number:
//
//	λ·Σ_i (w_(i) − w₀_(i))²
//
// with w_(i) the i-th smallest. The gradient pulls each weight by 2λ to the
// initial weight of the same rank, of equals in their order in the array. That
// is L2-init's λ for a pull to whatever initial weight is next. It sorts all
// weights every step.
type wasserstein struct {
	lambda float32
	arrays []sortedInit
	ranked ranking
}

// sortedInit is a parameter with its initial values, sorted.
type sortedInit struct {
	param   *nn.Param
	initial []float32
}

func newWasserstein(c wassersteinConfig, env method.Env) (method.Method, error) {
	m := &wasserstein{lambda: float32(c.Lambda)}
	most := 0
	for _, p := range env.Network.Params() {
		initial := slices.Clone(p.Var.F32)
		slices.Sort(initial)
		m.arrays = append(m.arrays, sortedInit{p, initial})
		most = max(most, len(initial))
	}
	m.ranked = newRanking(most)
	return m, nil
}

// AfterBackward implements [method.AfterBackward].
func (m *wasserstein) AfterBackward(_ *learner.Step, gradients [][]float32) error {
	if m.lambda == 0 {
		return nil
	}
	for k, a := range m.arrays {
		w, g := a.param.Var.F32, gradients[k]
		for rank, i := range m.ranked.of(w) {
			g[i] += float32(2 * m.lambda * (w[i] - a.initial[rank]))
		}
	}
	return nil
}

// ranking sorts arrays without allocating: a radix sort, three passes of 11
// bits over the order-preserving bits of the numbers.
type ranking struct{ bits, from, to []uint32 }

func newRanking(n int) ranking {
	return ranking{make([]uint32, n), make([]uint32, n), make([]uint32, n)}
}

// of returns the indices of x from the smallest element to the largest, of
// equals the first first, valid until the next call.
func (r *ranking) of(x []float32) []uint32 {
	const digit, digits = 11, 3
	var counts [digits][1 << digit]uint32
	bits, from, to := r.bits[:len(x)], r.from[:len(x)], r.to[:len(x)]
	for i, v := range x {
		u := math.Float32bits(v + 0) // −0 is 0
		if u>>31 != 0 {
			u = ^u
		} else {
			u |= 1 << 31
		}
		bits[i], from[i] = u, uint32(i)
		for d := range digits {
			counts[d][u>>(d*digit)&(1<<digit-1)]++
		}
	}
	for d := range digits {
		at := uint32(0)
		for k, n := range counts[d] {
			counts[d][k] = at
			at += n
		}
		for _, i := range from {
			k := bits[i] >> (d * digit) & (1<<digit - 1)
			to[counts[d][k]] = i
			counts[d][k]++
		}
		from, to = to, from
	}
	return from
}

var _ method.AfterBackward = (*wasserstein)(nil)
