package resets

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/recycle"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "regrama",
		Paper:   "Liu et al. 2025, Measure Gradients, Not Activations! Enhancing Neuronal Activity in Deep Reinforcement Learning",
		Summary: "hidden units whose weights hardly get any gradient are recycled, every so many steps",
		Needs:   []component.Capability{component.Units, component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"period": 1e6, "window": 1.0}},
			Lively: component.Object{"period": 5.0, "window": 3.0, "threshold": 0.8},
		},
	}, regramaConfig{Period: 1000, Threshold: 0.01, Window: 1}, nil, newRegrama)
}

type regramaConfig struct {
	Period    int64   `json:"period" doc:"steps from one check to the next, counted from the start of the run"`
	Threshold float64 `json:"threshold" doc:"τ: a unit is inactive when the gradient of its weights, relative to its layer's mean, is at most this"`
	Window    int64   `json:"window" doc:"the gradients of this many steps up to the check are what is measured"`
}

func (c regramaConfig) Validate() error {
	var period, window error
	if c.Period < 1 {
		period = component.Fieldf("period", "must be at least 1 step, is %d", c.Period)
	}
	if c.Window < 1 || c.Window > max(c.Period, 1) {
		window = component.Fieldf("window", "must be between 1 and the period of %d steps, is %d", c.Period, c.Window)
	}
	return errors.Join(period, window, check.Range("threshold", c.Threshold, 0, 1e6))
}

// regrama is ReDo with another measure. After steps F, 2F, 3F, …, in every
// hidden layer:
//
//	s_i = mean|∂L/∂W_in,i| / (mean_k mean|∂L/∂W_in,k| + 1e-9)
//	s_i ≤ τ ⇒ W_in,i drawn afresh, b_i = 0, W_out,i = 0,
//	          optimiser state of these weights back to its start
//
// with the gradient of each step's loss, penalties of other methods included,
// before the optimiser, averaged in size over the steps of the window; the paper
// takes the one of the check, window 1. All layers are measured before any is
// changed, and the output layer has no units to recycle.
type regrama struct {
	cfg    regramaConfig
	layers []*regramaLayer
}

type regramaLayer struct {
	units *nn.Units
	new   *recycle.Recycler
	of    []int     // parameters of units.In
	sum   []float64 // Σ|g| over the window, per unit; 0 between windows
	step  []float32
}

func newRegrama(c regramaConfig, env method.Env) (method.Method, error) {
	m := &regrama{cfg: c}
	for _, u := range env.Network.Units() {
		l := &regramaLayer{
			units: u, new: recycle.New(env, u), step: make([]float32, u.N),
			sum: env.State(u.Layer+"/gradient", graph.F64, u.N).F64,
		}
		for _, s := range u.In {
			for k, p := range env.Network.Params() {
				if p == s.Param {
					l.of = append(l.of, k)
				}
			}
		}
		m.layers = append(m.layers, l)
	}
	return m, nil
}

// ResetsUnits implements [method.UnitResetter].
func (m *regrama) ResetsUnits() {}

// toCheck returns how many steps there are from a step to the next check.
func (m *regrama) toCheck(s *learner.Step) int64 { return m.cfg.Period - 1 - s.Index%m.cfg.Period }

// AfterBackward implements [method.AfterBackward].
func (m *regrama) AfterBackward(s *learner.Step, gradients [][]float32) error {
	if m.toCheck(s) >= m.cfg.Window {
		return nil
	}
	for _, l := range m.layers {
		clear(l.step)
		for k, in := range l.units.In {
			offset, length, stride, count := in.Span(0)
			g := gradients[l.of[k]][offset:]
			for c := range count {
				for i := range l.step {
					from := c*stride + i*length
					l.step[i] += sumAbsRun(g[from : from+length])
				}
			}
		}
		for i, v := range l.step {
			l.sum[i] += float64(v)
		}
	}
	return nil
}

// AfterStep implements [method.AfterStep].
func (m *regrama) AfterStep(s *learner.Step) error {
	if m.toCheck(s) > 0 {
		return nil
	}
	for _, l := range m.layers {
		each := 0
		for _, in := range l.units.In {
			each += in.Len()
		}
		n := float64(each) * float64(m.cfg.Window)
		var total float64
		for _, v := range l.sum {
			total += v
		}
		mean := total / n / float64(l.units.N)
		for i, v := range l.sum {
			if v/n/(mean+1e-9) <= m.cfg.Threshold {
				l.new.Recycle(s.Index, i)
			}
		}
		clear(l.sum)
	}
	return nil
}

var (
	_ method.AfterBackward = (*regrama)(nil)
	_ method.AfterStep     = (*regrama)(nil)
	_ method.UnitResetter  = (*regrama)(nil)
)
