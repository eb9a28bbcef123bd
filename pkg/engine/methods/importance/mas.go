package importance

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "mas",
		Paper:   "Aljundi et al. 2018, Memory Aware Synapses: Learning What (not) to Forget",
		Summary: "weights that the size of the output depends on are held where they were",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"lambda": 0.1, "samples": 12.0}},
	}, masConfig{Lambda: 1, Samples: 200}, nil, newMAS)
}

type masConfig struct {
	Lambda  float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Samples int     `json:"samples" doc:"examples of the task that importance is estimated on"`
}

func (c masConfig) Validate() error {
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e15), check.Count("samples", c.Samples, check.MostExamples))
}

// mas estimates, when a task has ended, on n of its examples, without their
// labels, how much each weight matters, and adds to the gradient that of
// λ·Σ Ω·(w − w*)²:
//
//	Ω ← Ω + 1/n·Σ_x |∂‖f(x)‖²/∂w|     w* ← w
//	g ← g + 2λ·Ω·(w − w*)
//
// f being the network's output (logits). The n examples are a uniform sample of
// those that the task has shown, and all of them where it has shown fewer.
type mas struct {
	cfg           masConfig
	params        []*nn.Param
	omega, anchor map[*nn.Param]*graph.Var
	memory        *memory.Memory
	batch         *stream.Batch
	gradients     method.Gradients
}

func newMAS(c masConfig, env method.Env) (method.Method, error) {
	m := &mas{
		cfg: c, params: env.Network.Params(), omega: map[*nn.Param]*graph.Var{}, anchor: map[*nn.Param]*graph.Var{},
		memory: memory.New(env, "task", memory.Reservoir, c.Samples, false), batch: memory.BatchOf(env, 1),
	}
	for _, p := range m.params {
		m.omega[p] = env.State("importance/"+p.Var.Name, graph.F32, p.Var.Shape...)
		m.anchor[p] = env.State("anchor/"+p.Var.Name, graph.F32, p.Var.Shape...)
	}
	return m, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *mas) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Lambda == 0 {
		return u.G
	}
	b := u.B
	away := b.Sub(u.W, b.Read(m.anchor[u.Param]))
	return b.Add(u.G, b.Mul(b.Scale(float32(2*m.cfg.Lambda), b.Read(m.omega[u.Param])), away))
}

// GradientBatch implements [method.SecondGradient].
func (m *mas) GradientBatch() int { return 1 }

// UseGradients implements [method.SecondGradient].
func (m *mas) UseGradients(g method.Gradients) { m.gradients = g }

// Objective implements [method.Objective].
func (m *mas) Objective(t *method.Trace) graph.Node { return t.B.Sum(t.B.Square(t.Net.Output)) }

// AfterStep implements [method.AfterStep]: it remembers a sample of the task.
func (m *mas) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, nil)
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *mas) TaskBoundary(*learner.Step) error {
	n := m.memory.Len()
	for i := range n {
		if m.cfg.Lambda == 0 {
			break
		}
		m.memory.Take(m.batch, i)
		gradients, err := m.gradients.On(m.batch)
		if err != nil {
			return err
		}
		for k, p := range m.params {
			omega := m.omega[p].F32
			for j, g := range gradients[k] {
				omega[j] += float32(math.Abs(float64(g))) / float32(n)
			}
		}
	}
	m.memory.Forget()
	for _, p := range m.params {
		copy(m.anchor[p].F32, p.Var.F32)
	}
	return nil
}

var (
	_ method.GradientUpdater = (*mas)(nil)
	_ method.Objective       = (*mas)(nil)
	_ method.SecondGradient  = (*mas)(nil)
	_ method.AfterStep       = (*mas)(nil)
	_ method.TaskBoundary    = (*mas)(nil)
)
