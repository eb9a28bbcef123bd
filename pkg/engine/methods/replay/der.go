package replay

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "der",
		Paper:   "Buzzega et al. 2020, Dark Experience for General Continual Learning, algorithm 2 (DER++); beta 0 is DER",
		Summary: "dark experience replay: the network is held to what it gave for past examples, and to their labels",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"alpha": 0.0, "beta": 0.0, "batch": 2.0}}, Lively: component.Object{"memory": 10.0, "batch": 3.0}},
	}, derConfig{Memory: 500, Batch: 32, Alpha: 0.3, Beta: 0.5}, map[string]derConfig{
		// Their appendix: permuted and rotated MNIST (lr 0.1 and 0.2, batches of 128).
		"permuted-mnist-200": {Memory: 200, Batch: 128, Alpha: 1, Beta: 1},
		"rotated-mnist-200":  {Memory: 200, Batch: 128, Alpha: 1, Beta: 0.5},
	}, newDER)
}

type derConfig struct {
	Memory int     `json:"memory" doc:"examples that are held, every one so far with the same probability"`
	Batch  int     `json:"batch" doc:"m: examples that are drawn each step, for each of the two terms"`
	Alpha  float64 `json:"alpha" doc:"α: strength of the term of outputs; with beta 0, 0 changes nothing"`
	Beta   float64 `json:"beta" doc:"β: strength of the term of labels; 0 is DER"`
}

func (c derConfig) Validate() error {
	batch := check.Count("batch", c.Batch, check.MostExamples/2)
	if batch == nil && c.Batch > c.Memory {
		batch = component.Fieldf("batch", "of %d examples from a memory of %d", c.Batch, c.Memory)
	}
	return errors.Join(check.Count("memory", c.Memory, check.MostExamples), batch, check.Range("alpha", c.Alpha, 0, 1e6), check.Range("beta", c.Beta, 0, 1e6))
}

// der adds to the loss two terms, of two draws of m different examples (x, y, z)
// of its memory, z being the network's output (logits) when x was seen:
//
//	α·mean (f(x') − z')²   over examples and outputs
//	β·mean loss(f(x''), y'')
//
// They are computed apart from the stream's batch, and their gradients added.
// Nothing is replayed until the memory holds m examples; the step's examples go
// there after the step, with the outputs from before the update.
type der struct {
	cfg       derConfig
	memory    *memory.Memory
	batch     *stream.Batch // the first half is of the term of outputs
	outputs   int
	gradients method.Gradients
}

func newDER(c derConfig, env method.Env) (method.Method, error) {
	return &der{cfg: c, memory: memory.New(env, "memory", memory.Reservoir, c.Memory, true), batch: memory.BatchOf(env, 2*c.Batch), outputs: env.Outputs}, nil
}

// GradientBatch implements [method.SecondGradient].
func (m *der) GradientBatch() int { return m.batch.N }

// UseGradients implements [method.SecondGradient].
func (m *der) UseGradients(g method.Gradients) { m.gradients = g }

// Objective implements [method.Objective].
func (m *der) Objective(t *method.Trace) graph.Node {
	b, n := t.B, m.cfg.Batch
	now := b.SliceAxis(t.Net.Output, 0, 0, n)
	dark := b.Mean(b.Square(b.Sub(now, b.Input("z", n, m.outputs))))
	label := b.Mean(b.SliceAxis(t.Losses, 0, n, 2*n))
	return b.Add(b.Scale(float32(m.cfg.Alpha), dark), b.Scale(float32(m.cfg.Beta), label))
}

// AfterBackward implements [method.AfterBackward].
func (m *der) AfterBackward(s *learner.Step, gradients [][]float32) error {
	n, number := m.cfg.Batch, 2*uint64(s.Index)
	if m.cfg.Alpha == 0 && m.cfg.Beta == 0 ||
		!m.memory.Draw(m.batch, 0, n, memory.EveryTask, number, m.gradients.Input("z")) ||
		!m.memory.Draw(m.batch, n, 2*n, memory.EveryTask, number+1, nil) {
		return nil
	}
	replayed, err := m.gradients.On(m.batch)
	if err != nil {
		return err
	}
	for k, g := range gradients {
		for i, r := range replayed[k] {
			g[i] += r
		}
	}
	return nil
}

// AfterStep implements [method.AfterStep].
func (m *der) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, s.Output)
	return nil
}

var (
	_ method.Objective     = (*der)(nil)
	_ method.AfterBackward = (*der)(nil)
	_ method.AfterStep     = (*der)(nil)
)
