package replay

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "a-gem",
		Paper:   "Chaudhry et al. 2019, Efficient Lifelong Learning with A-GEM",
		Summary: "what of a gradient would raise the loss on past tasks is projected away",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"batch": 2500.0}},
			Lively: component.Object{"batch": 2.0, "memory": 40.0},
			Idle:   []string{"adam", "adamw"},
		},
	}, agemConfig{Memory: 2500, Batch: 256, Selection: memory.ClassBalanced}, nil, newAGEM)
}

type agemConfig struct {
	Memory    int    `json:"memory" doc:"examples that are held"`
	Batch     int    `json:"batch" doc:"m: examples that the gradient is compared on"`
	Selection string `json:"selection" doc:"what is held: reservoir: every example so far with the same probability; class-balanced: as many of each class as can be (reservoir where there are no classes)" enum:"reservoir|class-balanced"`
}

func (c agemConfig) Validate() error {
	batch := check.Count("batch", c.Batch, check.MostExamples)
	if batch == nil && c.Batch > c.Memory {
		batch = component.Fieldf("batch", "of %d examples from a memory of %d", c.Batch, c.Memory)
	}
	return errors.Join(check.Count("memory", c.Memory, check.MostExamples), batch)
}

// agem compares each step's gradient g, of all parameters as one vector, with
// that of the prediction loss on m random examples of earlier tasks, g_ref:
//
//	g·g_ref < 0 ⇒ g ← g − (g·g_ref)/(g_ref·g_ref)·g_ref
//
// Nothing is done as long as the memory holds fewer than m examples of earlier
// tasks. (The paper holds the same number of each class of each task, or fills a
// ring.)
type agem struct {
	cfg       agemConfig
	memory    *memory.Memory
	batch     *stream.Batch
	gradients method.Gradients
}

func newAGEM(c agemConfig, env method.Env) (method.Method, error) {
	return &agem{cfg: c, memory: memory.New(env, "memory", c.Selection, c.Memory, false), batch: memory.BatchOf(env, c.Batch)}, nil
}

// GradientBatch implements [method.SecondGradient].
func (m *agem) GradientBatch() int { return m.cfg.Batch }

// UseGradients implements [method.SecondGradient].
func (m *agem) UseGradients(g method.Gradients) { m.gradients = g }

// AfterBackward implements [method.AfterBackward].
func (m *agem) AfterBackward(s *learner.Step, gradients [][]float32) error {
	if !m.memory.Draw(m.batch, 0, m.batch.N, s.Task, uint64(s.Index), nil) {
		return nil
	}
	ref, err := m.gradients.On(m.batch)
	if err != nil {
		return err
	}
	var along, length float64
	for k, g := range gradients {
		along += float64(kernel.Dot(g, ref[k]))
		length += float64(kernel.SumSquares(ref[k]))
	}
	if along >= 0 || length == 0 {
		return nil
	}
	c := float32(along / length)
	for k, g := range gradients {
		for i, r := range ref[k] {
			g[i] -= float32(c * r)
		}
	}
	return nil
}

// AfterStep implements [method.AfterStep].
func (m *agem) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, nil)
	return nil
}

var (
	_ method.SecondGradient = (*agem)(nil)
	_ method.AfterBackward  = (*agem)(nil)
	_ method.AfterStep      = (*agem)(nil)
)
