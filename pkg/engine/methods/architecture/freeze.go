package architecture

import (
	"errors"
	"slices"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "freeze",
		Paper:   "Yosinski et al. 2014, How transferable are features in deep neural networks?",
		Summary: "layers are trained no more, from a task on",
		Trial:   component.Trial{Inert: []component.Object{{"from_task": 100.0}}, Lively: component.Object{"from_task": 1.0}},
	}, freezeConfig{Layers: []string{allButOutput}}, nil, newFreeze)
}

// allButOutput stands for every layer but the last.
const allButOutput = "all-but-output"

type freezeConfig struct {
	Layers   []string `json:"layers" doc:"names of layers (hidden1, …, output), or all-but-output"`
	FromTask int      `json:"from_task" doc:"the first task in which they are frozen; 0: from the start"`
}

func (c freezeConfig) Validate() error {
	var layers, task error
	if len(c.Layers) == 0 {
		layers = component.Fieldf("layers", "names no layer")
	}
	if c.FromTask < 0 {
		task = component.Fieldf("from_task", "must not be negative, is %d", c.FromTask)
	}
	return errors.Join(layers, task)
}

// freeze holds the parameters of some layers where they are:
//
//	w' ← w      from the first frozen task on
//
// whatever the optimiser and methods before it in the spec would do. What
// methods do to weights after the step (resets) it does not see. Adapters that
// methods put into these layers are trained on.
type freeze struct {
	cfg    freezeConfig
	frozen map[*nn.Param]bool
	now    *graph.Var // 1 when they are frozen
}

func newFreeze(c freezeConfig, env method.Env) (method.Method, error) {
	m := &freeze{cfg: c, frozen: map[*nn.Param]bool{}, now: env.State("now", graph.F32)}
	params := env.Network.Params()
	var names []string
	for _, p := range params {
		if !slices.Contains(names, p.Layer) {
			names = append(names, p.Layer)
		}
	}
	output := params[len(params)-1].Layer
	for _, name := range c.Layers {
		if name != allButOutput && !slices.Contains(names, name) {
			return nil, component.Fieldf("layers", "the network has no layer %q%s (have: %s)", name, component.DidYouMean(name, names), strings.Join(names, ", "))
		}
		for _, p := range params {
			if p.Role != nn.Adapted && (p.Layer == name || name == allButOutput && p.Layer != output) {
				m.frozen[p] = true
				p.Frozen = p.Frozen || c.FromTask == 0
			}
		}
	}
	return m, nil
}

// UpdateWeight implements [method.WeightUpdater].
func (m *freeze) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if !m.frozen[u.Param] {
		return w
	}
	return u.B.Select(u.B.Read(m.now), u.W, w)
}

// TaskBoundary implements [method.TaskBoundary].
func (m *freeze) TaskBoundary(s *learner.Step) error {
	if s.Task+1 >= m.cfg.FromTask {
		m.now.F32[0] = 1
	}
	return nil
}

var (
	_ method.WeightUpdater = (*freeze)(nil)
	_ method.TaskBoundary  = (*freeze)(nil)
)
