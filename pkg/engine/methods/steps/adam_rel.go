package steps

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "adam-rel",
		Paper:   "Ellis et al. 2024, Adam on Local Time: Addressing Nonstationarity in RL with Relative Adam Timesteps",
		Summary: "at the end of a task the optimiser's step count starts again, or all that it remembers",
		Trial: component.Trial{
			Inert:  []component.Object{{"tasks": 100.0}, {"tasks": 100.0, "moments": "reset"}},
			Lively: component.Object{"moments": "reset"},
			Idle:   []string{"sgd"},
		},
	}, adamRelConfig{Moments: "keep"}, nil,
		func(c adamRelConfig, env method.Env) (method.Method, error) { return &adamRel{c, env.States}, nil })
}

type adamRelConfig struct {
	Tasks   int    `json:"tasks" doc:"every so many tasks; 0 stands for each"`
	Moments string `json:"moments" doc:"keep: only the step count of the bias corrections starts again (Adam-Rel); reset: the moments, too (as resets of the optimiser do)" enum:"keep|reset"`
}

func (c adamRelConfig) Validate() error {
	if c.Tasks < 0 {
		return component.Fieldf("tasks", "must not be negative, is %d", c.Tasks)
	}
	return nil
}

// adamRel sets, when a task has ended, for every parameter
//
//	t ← 0                     keep
//	t ← 0, m ← 0, v ← 0       reset
//
// in Adam and its kin. With the moments kept, a gradient that is suddenly much
// larger than √v makes a step of about lr instead of many times that. reset
// clears whatever an optimiser keeps per weight, the velocity of momentum say;
// one that counts no steps does not notice keep, and plain SGD neither.
type adamRel struct {
	cfg    adamRelConfig
	states *optim.States
}

// TaskBoundary implements [method.TaskBoundary].
func (m *adamRel) TaskBoundary(s *learner.Step) error {
	if (s.Task+1)%max(m.cfg.Tasks, 1) == 0 {
		m.states.Restart(m.cfg.Moments == "reset")
	}
	return nil
}

var _ method.TaskBoundary = (*adamRel)(nil)
