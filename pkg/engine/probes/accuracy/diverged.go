package accuracy

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name: "diverged",
			Summary: "1 from the step on in which the learner diverged and was frozen, else 0; " +
				"part of every run with learner.on_divergence: freeze",
		},
		Metrics: []probe.Metric{
			{Metric: "diverged", Title: "Diverged", Unit: "1 if so", Range: probe.Share, Better: probe.Lower},
		},
		Every:  "step",
		Reduce: "max",
	}, divergedConfig{}, nil, func(divergedConfig, probe.Env) (probe.Probe, error) { return diverged{}, nil })
}

type divergedConfig struct{}

func (divergedConfig) Validate() error { return nil }

// diverged tells the steps of a frozen learner from those of one that learns.
type diverged struct{}

// Columns implements [probe.Probe].
func (diverged) Columns() []probe.Column { return []probe.Column{{Metric: "diverged"}} }

// Step implements [probe.Stepper].
func (diverged) Step(s *learner.Step, values []float32) {
	values[0] = 0
	if s.Diverged {
		values[0] = 1
	}
}
