package resets

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "plasticity-injection",
		Paper:   "Nikishin et al. 2023, Deep Reinforcement Learning with Plasticity Injection",
		Summary: "the last layers are frozen, and new ones learn what is to be added to them",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert:   []component.Object{{"from_task": 100.0}, {"layers": 1.0, "from_task": 0.0, "step": 1e6}},
			Lively:  component.Object{"step": 5.0},
			Network: component.Object{"kind": "mlp", "hidden": []any{7.0, 5.0}}, Alone: true,
		},
	}, injectionConfig{Layers: 2, FromTask: 1}, nil, newInjection)
}

type injectionConfig struct {
	Layers   int   `json:"layers" doc:"how many layers are the head, from the output back; with a head of one, linear, layer only the optimiser begins anew"`
	FromTask int   `json:"from_task" doc:"the task before which plasticity is injected, where step is 0"`
	Step     int64 `json:"step" doc:"steps after which plasticity is injected; 0: see from_task"`
}

func (c injectionConfig) Validate() error {
	var layers, when error
	if c.Layers < 1 {
		layers = component.Fieldf("layers", "must be at least 1, is %d", c.Layers)
	}
	switch {
	case c.Step < 0:
		when = component.Fieldf("step", "must not be negative, is %d", c.Step)
	case c.Step == 0 && c.FromTask < 1:
		when = component.Fieldf("from_task", "must be at least 1 where step is 0, is %d", c.FromTask)
	}
	return errors.Join(layers, when)
}

// injection makes of the head h_θ, which reads φ(x), once,
//
//	h_θ(φ) + h_a(φ) − h_b(φ)
//
// with a = b newly drawn, so that nothing is said otherwise at first. θ is
// trained until then, a from then on, b never; φ all the time, through all
// three. The optimiser knows nothing of a when it begins.
type injection struct {
	cfg    injectionConfig
	head   map[*nn.Param]bool // θ
	added  map[*nn.Param]bool // a
	done   *graph.Var         // 1 from then on
	states *optim.States
}

// Build implements [method.Builder].
func (c injectionConfig) Build(bp *nn.Blueprint) error {
	first := len(bp.Layers) - c.Layers
	if first < 0 {
		return component.Fieldf("layers", "the network is a chain of %d layers, the head cannot have %d", len(bp.Layers), c.Layers)
	}
	for i, l := range bp.Layers {
		between := l.Pool != nil || l.Dropout > 0 || l.Residual
		if i == first-1 && between || i >= first && (between || l.Conv != nil || l.Norm != "" && l.Norm != "none" || l.Standardize) {
			return component.Fieldf("layers", "layer %s: the head and what it reads must be plain, without pool, dropout, residual, and the head dense and without normalisation", l.Name)
		}
	}
	h := &injectedHead{layers: bp.Layers[first:], init: bp.Init}
	if first == 0 {
		bp.Input = append(bp.Input, &headInput{h})
	} else {
		bp.Layers[first-1].Adapters = append(bp.Layers[first-1].Adapters, &headInput{h})
	}
	last := &bp.Layers[len(bp.Layers)-1]
	last.Linear = append(last.Linear, h)
	return nil
}

// headInput notes what the head reads.
type headInput struct{ of *injectedHead }

// Make implements [nn.Adapter].
func (a *headInput) Make(m *nn.AdapterMaker) error {
	a.of.in = m.Shape.Elems()
	return nil
}

// Apply implements [nn.Adapter].
func (a *headInput) Apply(b *graph.Builder, x graph.Node, _ nn.Mode) graph.Node {
	a.of.x = b.Reshape(x, x.Shape()[0], a.of.in)
	return x
}

// injectedHead adds the difference of the new heads to the old one's output.
type injectedHead struct {
	layers []nn.Layer
	init   nn.Init
	in     int
	x      graph.Node // what the head reads, in the program that is being traced
	a, b   [][2]*nn.Param
	done   *graph.Var
}

// Make implements [nn.Adapter].
func (h *injectedHead) Make(m *nn.AdapterMaker) error {
	in := h.in
	h.done = m.State("injected")
	for i, l := range h.layers {
		weight, bias := h.init.Dense(in, l.Width, l.Activation.Gain())
		var pair [2][2]*nn.Param
		for k, name := range []string{"a", "b"} {
			pair[k][0] = m.Param(fmt.Sprintf("injected_%s/%d/weight", name, i), in, weight, in, l.Width)
			if l.Bias {
				pair[k][1] = m.Param(fmt.Sprintf("injected_%s/%d/bias", name, i), in, bias, l.Width)
			}
		}
		for j, p := range pair[1] {
			if p != nil {
				copy(p.Var.F32, pair[0][j].Var.F32)
				p.Frozen = true
			}
		}
		h.a, h.b = append(h.a, pair[0]), append(h.b, pair[1])
		in = l.Width * l.Activation.Outputs()
	}
	return nil
}

// Apply implements [nn.Adapter].
func (h *injectedHead) Apply(b *graph.Builder, x graph.Node, _ nn.Mode) graph.Node {
	head := func(params [][2]*nn.Param) graph.Node {
		y := h.x
		for i, p := range params {
			y = b.MatMul(y, b.Read(p[0].Var))
			if p[1] != nil {
				y = b.Add(y, b.Read(p[1].Var))
			}
			if i < len(params)-1 {
				y = h.layers[i].Activation.Apply(b, y)
			}
		}
		return y
	}
	return b.Select(b.Read(h.done), b.Add(x, b.Sub(head(h.a), head(h.b))), x)
}

func newInjection(c injectionConfig, env method.Env) (method.Method, error) {
	m := &injection{cfg: c, head: map[*nn.Param]bool{}, added: map[*nn.Param]bool{}, states: env.States}
	var layers []string // from the last back
	params := env.Network.Params()
	for i := range params {
		p := params[len(params)-1-i]
		if len(layers) == 0 || layers[len(layers)-1] != p.Layer {
			layers = append(layers, p.Layer)
		}
		m.head[p] = len(layers) <= c.Layers && p.Role != nn.Adapted
	}
	for _, a := range nn.Adapters(env.Network) {
		if h, ok := a.(*injectedHead); ok {
			m.done = h.done
			for _, pair := range h.a {
				for _, p := range pair {
					m.added[p] = true
				}
			}
		}
	}
	return m, nil
}

// ResetsUnits implements [method.UnitResetter].
func (m *injection) ResetsUnits() {}

// UpdateWeight implements [method.WeightUpdater].
func (m *injection) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	switch done := u.B.Read(m.done); {
	case m.head[u.Param]:
		return u.B.Select(done, u.W, w)
	case m.added[u.Param]:
		return u.B.Select(done, w, u.W)
	}
	return w
}

// AfterStep implements [method.AfterStep].
func (m *injection) AfterStep(s *learner.Step) error {
	if m.cfg.Step > 0 && s.Index+1 == m.cfg.Step {
		m.inject()
	}
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *injection) TaskBoundary(s *learner.Step) error {
	if m.cfg.Step == 0 && s.Task+1 == m.cfg.FromTask {
		m.inject()
	}
	return nil
}

func (m *injection) inject() {
	m.done.F32[0] = 1
	for p, added := range m.added {
		if added {
			m.states.Reset(p, 0, p.Var.Len())
		}
	}
}

var (
	_ method.Builder       = injectionConfig{}
	_ method.WeightUpdater = (*injection)(nil)
	_ method.AfterStep     = (*injection)(nil)
	_ method.TaskBoundary  = (*injection)(nil)
	_ method.UnitResetter  = (*injection)(nil)
)
