package importance

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "rwalk",
		Paper:   "Chaudhry et al. 2018, Riemannian Walk for Incremental Learning",
		Summary: "weights are held by their Fisher information and by what their moves lowered the loss",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"period": 4.0}},
	}, rwalkConfig{Lambda: 1, Decay: 0.9, Period: 50, Epsilon: 1e-3}, nil, newRWalk)
}

type rwalkConfig struct {
	Lambda  float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Decay   float64 `json:"decay" doc:"1 − α: decay of the running Fisher information"`
	Period  int64   `json:"period" doc:"Δt: steps over which a weight's part in the loss and its move are taken together"`
	Epsilon float64 `json:"epsilon" doc:"ε: keeps the divisor from 0"`
}

func (c rwalkConfig) Validate() error {
	var period error
	if c.Period < 1 {
		period = component.Fieldf("period", "must be at least 1 step, is %d", c.Period)
	}
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e15), check.Decay("decay", c.Decay), period, check.Range("epsilon", c.Epsilon, 1e-20, 1e6))
}

// rwalk, with g the gradient before this method, and w and w' a weight before
// and after a step:
//
//	F ← (1−α)·F + α·g²,  ω ← ω − g·(w' − w)          every step
//	s ← s + max(0, ω/(½·F·(w' − w_Δ)² + ε)),  ω ← 0,  w_Δ ← w'      every Δt steps, and when a task has ended
//	S ← ½·(S + s),  s ← 0,  Ω ← norm(F) + norm(S),  w* ← w          when a task has ended
//	g ← g + 2λ·Ω·(w − w*)
//
// the last being the gradient of λ·Σ Ω·(w − w*)². norm maps the values of all
// parameters linearly to [0, 1]. After the first task S is s. As in their code,
// g² is of the mini-batch's gradient. F goes on from task to task, so that it is
// an average over all of them.
type rwalk struct {
	cfg                                       rwalkConfig
	params                                    []*nn.Param
	fisher, path, since, score, omega, anchor map[*nn.Param]*graph.Var
	scores                                    map[*nn.Param]*graph.Var // S
	tasks                                     *graph.Var               // that have ended
	gradients                                 map[*nn.Param]graph.Node // while tracing
}

func newRWalk(c rwalkConfig, env method.Env) (method.Method, error) {
	m := &rwalk{cfg: c, params: env.Network.Params(), gradients: map[*nn.Param]graph.Node{}, tasks: env.State("tasks", graph.I32)}
	state := func(name string) map[*nn.Param]*graph.Var {
		vars := map[*nn.Param]*graph.Var{}
		for _, p := range m.params {
			vars[p] = env.State(name+"/"+p.Var.Name, graph.F32, p.Var.Shape...)
		}
		return vars
	}
	m.fisher, m.path, m.since, m.score = state("fisher"), state("path"), state("since"), state("score")
	m.scores, m.omega, m.anchor = state("scores"), state("importance"), state("anchor")
	for _, p := range m.params {
		copy(m.since[p].F32, p.Var.F32)
	}
	return m, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *rwalk) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Lambda == 0 {
		return u.G
	}
	m.gradients[u.Param] = u.G
	u.Average(m.fisher[u.Param], m.cfg.Decay, u.B.Square(u.G))
	b := u.B
	away := b.Sub(u.W, b.Read(m.anchor[u.Param]))
	return b.Add(u.G, b.Mul(b.Scale(float32(2*m.cfg.Lambda), b.Read(m.omega[u.Param])), away))
}

// UpdateWeight implements [method.WeightUpdater].
func (m *rwalk) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.Lambda != 0 {
		b, path := u.B, m.path[u.Param]
		b.Assign(path, b.Sub(b.Read(path), b.Mul(m.gradients[u.Param], b.Sub(w, u.W))))
	}
	return w
}

// AfterStep implements [method.AfterStep].
func (m *rwalk) AfterStep(s *learner.Step) error {
	if m.cfg.Lambda != 0 && ((s.TaskStep+1)%m.cfg.Period == 0 || s.LastStep) {
		m.addScores()
	}
	return nil
}

// addScores closes a stretch of Δt steps.
func (m *rwalk) addScores() {
	for _, p := range m.params {
		f, path, since, score := m.fisher[p].F32, m.path[p].F32, m.since[p].F32, m.score[p].F32
		for i, w := range p.Var.F32 {
			moved := w - since[i]
			divisor := float32(0.5*f[i]*float32(moved*moved)) + float32(m.cfg.Epsilon)
			score[i] += max(0, path[i]/divisor)
		}
		clear(path)
		copy(since, p.Var.F32)
	}
}

// TaskBoundary implements [method.TaskBoundary].
func (m *rwalk) TaskBoundary(*learner.Step) error {
	for _, p := range m.params {
		scores, score := m.scores[p].F32, m.score[p].F32
		for i, s := range score {
			if m.tasks.I32[0] > 0 {
				s = 0.5 * (scores[i] + s)
			}
			scores[i] = s
		}
		clear(score)
		clear(m.omega[p].F32)
		copy(m.anchor[p].F32, p.Var.F32)
	}
	m.tasks.I32[0]++
	m.addNormalized(m.fisher)
	m.addNormalized(m.scores)
	return nil
}

// addNormalized adds values, mapped to [0, 1], to Ω.
func (m *rwalk) addNormalized(values map[*nn.Param]*graph.Var) {
	lo, hi := values[m.params[0]].F32[0], values[m.params[0]].F32[0]
	for _, p := range m.params {
		for _, v := range values[p].F32 {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if hi == lo {
		return
	}
	for _, p := range m.params {
		omega := m.omega[p].F32
		for i, v := range values[p].F32 {
			omega[i] += (v - lo) / (hi - lo)
		}
	}
}

var (
	_ method.GradientUpdater = (*rwalk)(nil)
	_ method.WeightUpdater   = (*rwalk)(nil)
	_ method.AfterStep       = (*rwalk)(nil)
	_ method.TaskBoundary    = (*rwalk)(nil)
)
