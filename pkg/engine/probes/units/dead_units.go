package units

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "dead-units",
			Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning",
			Summary: "share of hidden units that are 0 on all of a new task's first examples, before the task is learned",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "dead_units", Title: "Dead units", Unit: "share of units", Range: probe.Share, Better: probe.Lower},
		},
		Every: "task",
		At:    "start",
	}, deadUnitsConfig{Samples: 2000}, nil, func(c deadUnitsConfig, env probe.Env) (probe.Probe, error) {
		return newUnitFraction("dead_units", c.Samples, env, func(total []float64, _ int) int { return dead(total) }), nil
	})
}

type deadUnitsConfig struct {
	Samples int `json:"samples" doc:"examples of the task that the network is evaluated on, the first ones"`
}

func (c deadUnitsConfig) Validate() error { return measure.CheckSamples(c.Samples) }

// dead counts the units i of a layer with Σ_b |h_bi| = 0. The paper's code
// gives the count per layer; here it is a share of the layer's units, and of
// all units for the whole network.
func dead(total []float64) int {
	count := 0
	for _, t := range total {
		if t == 0 {
			count++
		}
	}
	return count
}
