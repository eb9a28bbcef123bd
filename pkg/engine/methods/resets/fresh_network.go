package resets

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
)

func init() {
	method.Register(component.Info{
		Name:    "fresh-network",
		Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning (networks trained from scratch, in their figures 1 and 2)",
		Summary: "a control: every task has a learner that knows of no other",
		Trial:   component.Trial{Inert: []component.Object{{"tasks": 100.0}}, Lively: component.Object{}},
	}, freshNetworkConfig{Tasks: 1}, nil,
		func(c freshNetworkConfig, _ method.Env) (method.Method, error) { return freshNetwork{c}, nil })
}

type freshNetworkConfig struct {
	Tasks int `json:"tasks" doc:"tasks that a learner lives through"`
}

func (c freshNetworkConfig) Validate() error {
	if c.Tasks < 1 {
		return component.Fieldf("tasks", "must be at least 1, is %d", c.Tasks)
	}
	return nil
}

// freshNetwork ends the learner's life when a task has ended, or every so many:
// parameters are drawn anew by the network's initialiser (from a file of
// weights they are read again), and whatever optimiser and methods remember is
// what it is at the start. The difference in online accuracy between this arm
// and the same without is the plasticity that was lost.
type freshNetwork struct{ cfg freshNetworkConfig }

// Reborn implements [method.Rebirther].
func (m freshNetwork) Reborn(s *learner.Step) bool { return (s.Task+1)%m.cfg.Tasks == 0 }

var _ method.Rebirther = freshNetwork{}
