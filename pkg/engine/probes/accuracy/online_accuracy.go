package accuracy

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "online-accuracy",
			Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning; Kumar et al. 2023 (average online task accuracy)",
			Summary: "share of each mini-batch that the network has right before it learns from it",
			Needs:   []component.Capability{component.Classification},
		},
		Metrics: []probe.Metric{
			{
				Metric: "online_accuracy", Title: "Online accuracy",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
		},
		Every: "step",
	}, onlineAccuracyConfig{}, nil, func(onlineAccuracyConfig, probe.Env) (probe.Probe, error) { return onlineAccuracy{}, nil })
}

type onlineAccuracyConfig struct{}

func (onlineAccuracyConfig) Validate() error { return nil }

// onlineAccuracy emits a_t = mean_b [argmax logits_b = label_b] of the forward
// pass before the update. Its mean over a task's steps is the average online
// task accuracy.
type onlineAccuracy struct{}

func (onlineAccuracy) Columns() []probe.Column { return []probe.Column{{Metric: "online_accuracy"}} }

func (onlineAccuracy) Step(s *learner.Step, values []float32) {
	var sum float64
	for _, c := range s.Correct {
		sum += float64(c)
	}
	values[0] = float32(sum / float64(len(s.Correct)))
}
