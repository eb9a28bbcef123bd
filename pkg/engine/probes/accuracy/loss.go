package accuracy

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "loss",
			Summary: "loss of each mini-batch before the update, without penalties",
		},
		Metrics: []probe.Metric{{Metric: "loss", Title: "Loss", Range: probe.Positive, Better: probe.Lower}},
		Every:   "step",
	}, lossConfig{}, nil, func(lossConfig, probe.Env) (probe.Probe, error) { return loss{}, nil })
}

type lossConfig struct{}

func (lossConfig) Validate() error { return nil }

// loss emits the mean over the mini-batch of the prediction loss (cross-entropy
// in nats, or squared error).
type loss struct{}

func (loss) Columns() []probe.Column { return []probe.Column{{Metric: "loss"}} }

func (loss) Step(s *learner.Step, values []float32) { values[0] = s.Loss }
