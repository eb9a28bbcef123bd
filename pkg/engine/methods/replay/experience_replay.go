package replay

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/stream"
)

func init() {
	def := replayConfig{Memory: 500, Batch: 32, Selection: memory.Reservoir, Weight: 1}
	method.Register(component.Info{
		Name:    "experience-replay",
		Paper:   "Chaudhry et al. 2019, On Tiny Episodic Memories in Continual Learning; class-balanced: Chrysakis & Moens 2020",
		Summary: "every step learns from examples of a memory, too",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"weight": 0.0, "batch": 2.0}}, Lively: component.Object{"memory": 10.0, "batch": 4.0, "selection": "class-balanced"}},
	}, def, map[string]replayConfig{
		// Buzzega et al. 2020 (mammoth), their three sizes, batches of 32.
		"buzzega-200":  {Memory: 200, Batch: 32, Selection: memory.Reservoir, Weight: 1},
		"buzzega-500":  def,
		"buzzega-5120": {Memory: 5120, Batch: 32, Selection: memory.Reservoir, Weight: 1},
	}, newReplay)
}

type replayConfig struct {
	Memory    int     `json:"memory" doc:"examples that are held"`
	Batch     int     `json:"batch" doc:"m: examples that are replayed each step"`
	Selection string  `json:"selection" doc:"what is held: reservoir: every example so far with the same probability; class-balanced: as many of each class as can be (reservoir where there are no classes)" enum:"reservoir|class-balanced"`
	Weight    float64 `json:"weight" doc:"of a replayed example beside one of the stream; 0 changes nothing"`
}

func (c replayConfig) Validate() error {
	batch := check.Count("batch", c.Batch, check.MostExamples)
	if batch == nil && c.Batch > c.Memory {
		batch = component.Fieldf("batch", "of %d examples from a memory of %d", c.Batch, c.Memory)
	}
	return errors.Join(check.Count("memory", c.Memory, check.MostExamples), batch, check.Range("weight", c.Weight, 0, 1e6))
}

// experienceReplay learns from both the stream's n examples and m of its memory,
// as if they were one batch:
//
//	g ← (n·g + ω·m·g_memory) / (n + ω·m)
//
// ω being the weight, and g_memory the gradient of the mean prediction loss on m
// different examples of the memory, at random. There is no replay until the
// memory holds m. The step's examples go to the memory after the step. Penalties
// that other methods add to the loss are in g, and so are scaled by
// n/(n + ω·m); those that add to gradients are not.
type experienceReplay struct {
	cfg       replayConfig
	memory    *memory.Memory
	batch     *stream.Batch
	gradients method.Gradients
}

func newReplay(c replayConfig, env method.Env) (method.Method, error) {
	return &experienceReplay{
		cfg: c, memory: memory.New(env, "memory", c.Selection, c.Memory, false), batch: memory.BatchOf(env, c.Batch),
	}, nil
}

// GradientBatch implements [method.SecondGradient].
func (m *experienceReplay) GradientBatch() int { return m.cfg.Batch }

// UseGradients implements [method.SecondGradient].
func (m *experienceReplay) UseGradients(g method.Gradients) { m.gradients = g }

// AfterBackward implements [method.AfterBackward].
func (m *experienceReplay) AfterBackward(s *learner.Step, gradients [][]float32) error {
	if m.cfg.Weight == 0 || !m.memory.Draw(m.batch, 0, m.batch.N, memory.EveryTask, uint64(s.Index), nil) {
		return nil
	}
	replayed, err := m.gradients.On(m.batch)
	if err != nil {
		return err
	}
	n, weighted := float64(s.Batch.N), float64(m.cfg.Weight*float64(m.cfg.Batch))
	stream, memory := float32(n/(n+weighted)), float32(weighted/(n+weighted))
	for k, g := range gradients {
		for i, r := range replayed[k] {
			g[i] = float32(stream*g[i]) + float32(memory*r)
		}
	}
	return nil
}

// AfterStep implements [method.AfterStep].
func (m *experienceReplay) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, nil)
	return nil
}

var (
	_ method.SecondGradient = (*experienceReplay)(nil)
	_ method.AfterBackward  = (*experienceReplay)(nil)
	_ method.AfterStep      = (*experienceReplay)(nil)
)
