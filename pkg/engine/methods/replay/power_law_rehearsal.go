package replay

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "power-law-rehearsal",
		Paper:   "Gandhi, Shah, Marupudi & Varma 2024, Catastrophic Interference is Mitigated in Naturalistic Power-Law Learning Environments",
		Summary: "every step rehearses earlier tasks, those that ended longer ago the less often",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"schedule": "none", "batch": 2.0}},
			Lively: component.Object{"per_task": 8.0, "tasks": 2.0, "batch": 3.0},
		},
	}, powerLawConfig{Schedule: "power-law", Exponent: 1, Batch: 4, PerTask: 500, Tasks: 20}, nil, newPowerLaw)
}

type powerLawConfig struct {
	Schedule string  `json:"schedule" doc:"probability of rehearsing task i in task t: power-law: ∝ (t−i)^−α; exponential: ∝ exp(−α·(t−i)); uniform: all alike; latest: the last task only; none: nothing is rehearsed" enum:"power-law|exponential|uniform|latest|none"`
	Exponent float64 `json:"exponent" doc:"α"`
	Batch    int     `json:"batch" doc:"m: examples that are rehearsed each step, from the second task on"`
	PerTask  int     `json:"per_task" doc:"examples of each task that can be rehearsed, a uniform sample of those that it has shown"`
	Tasks    int     `json:"tasks" doc:"tasks that can be rehearsed: the latest so many"`
}

func (c powerLawConfig) Validate() error {
	var tasks error
	if c.Tasks < 1 || c.Tasks > 4096 {
		tasks = component.Fieldf("tasks", "must be between 1 and 4096, is %d", c.Tasks)
	}
	return errors.Join(check.Range("exponent", c.Exponent, 0, 100), check.Count("batch", c.Batch, check.MostExamples), check.Count("per_task", c.PerTask, check.MostExamples), tasks)
}

// powerLaw learns from the stream's n examples and m of earlier tasks as if
// they were one batch:
//
//	g ← (n·g + m·g_rehearsed) / (n + m)
//
// Each of the m is drawn by itself: first its task, with the probability of the
// schedule, then one of the examples that are held of it. Whatever the schedule,
// as many are rehearsed.
type powerLaw struct {
	cfg       powerLawConfig
	held      []*memory.Memory // of task t: number t mod tasks
	task      []int32          // whose each of these is, plus 1; 0 for none
	key       rng.Key
	batch     *stream.Batch
	weights   []float64 // by how many tasks ago
	gradients method.Gradients
}

func newPowerLaw(c powerLawConfig, env method.Env) (method.Method, error) {
	m := &powerLaw{cfg: c, key: env.Key("rehearsal"), batch: memory.BatchOf(env, c.Batch)}
	if c.Schedule == "none" {
		return m, nil
	}
	m.task = env.State("task", graph.I32, c.Tasks).I32
	for i := range c.Tasks {
		m.held = append(m.held, memory.New(env, fmt.Sprintf("task%d", i), memory.Reservoir, c.PerTask, false))
	}
	for ago := 1; ago <= c.Tasks; ago++ {
		w := 1.0
		switch c.Schedule {
		case "power-law":
			w = linalg.Pow(float64(ago), -c.Exponent)
		case "exponential":
			w = linalg.Exp(-c.Exponent * float64(ago-1)) // the first one is 1, whatever α is
		case "latest":
			if ago > 1 {
				w = 0
			}
		}
		m.weights = append(m.weights, w)
	}
	return m, nil
}

// GradientBatch implements [method.SecondGradient].
func (m *powerLaw) GradientBatch() int { return m.cfg.Batch }

// UseGradients implements [method.SecondGradient].
func (m *powerLaw) UseGradients(g method.Gradients) { m.gradients = g }

// AfterBackward implements [method.AfterBackward].
func (m *powerLaw) AfterBackward(s *learner.Step, gradients [][]float32) error {
	if m.held == nil || m.total(s.Task) == 0 {
		return nil
	}
	for r := range m.batch.N {
		held := m.held[m.draw(s.Task, uint64(s.Index), uint64(r))%len(m.held)]
		held.One(m.batch, r, m.key.Intn(held.Len(), uint64(s.Index), 1<<40+uint64(r)))
	}
	rehearsed, err := m.gradients.On(m.batch)
	if err != nil {
		return err
	}
	n, k := float64(s.Batch.N), float64(m.batch.N)
	of, old := float32(n/(n+k)), float32(k/(n+k))
	for i, g := range gradients {
		for j, r := range rehearsed[i] {
			g[j] = float32(of*g[j]) + float32(old*r)
		}
	}
	return nil
}

// total returns the sum of the weights of the tasks that can be rehearsed.
func (m *powerLaw) total(now int) float64 {
	var total float64
	for i, w := range m.weights {
		total += m.weight(now-1-i, w)
	}
	return total
}

// weight is that of a task, 0 if nothing is held of it.
func (m *powerLaw) weight(task int, w float64) float64 {
	if task < 0 || m.task[task%len(m.held)] != int32(task+1) {
		return 0
	}
	return w
}

// draw draws the task of example r of a step.
func (m *powerLaw) draw(now int, index, r uint64) (task int) {
	u := float64(m.key.Float32(index, r)) * m.total(now)
	for i, w := range m.weights {
		w = m.weight(now-1-i, w)
		if w > 0 {
			task = now - 1 - i // in case u is below none by rounding
		}
		if u < w {
			break
		}
		u -= w
	}
	return task
}

// AfterStep implements [method.AfterStep].
func (m *powerLaw) AfterStep(s *learner.Step) error {
	if m.held == nil {
		return nil
	}
	i := s.Task % len(m.held)
	if m.task[i] != int32(s.Task+1) {
		m.held[i].Forget()
		m.task[i] = int32(s.Task + 1)
	}
	m.held[i].Add(s.Batch, s.Task, nil)
	return nil
}

var (
	_ method.SecondGradient = (*powerLaw)(nil)
	_ method.AfterBackward  = (*powerLaw)(nil)
	_ method.AfterStep      = (*powerLaw)(nil)
)
