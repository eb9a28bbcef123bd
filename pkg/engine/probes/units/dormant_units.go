package units

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "dormant-units",
			Paper:   "Sokar et al. 2023, The Dormant Neuron Phenomenon in Deep Reinforcement Learning",
			Summary: "share of hidden units whose mean activation is at most tau times their layer's",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{
				Metric: "dormant_units", Title: "Dormant units",
				Unit: "share of units", Range: probe.Share, Better: probe.Lower,
			},
		},
		Every: "task",
		At:    "end",
	}, dormantUnitsConfig{Tau: 0.025, Samples: 2000}, nil, func(c dormantUnitsConfig, env probe.Env) (probe.Probe, error) {
		return newUnitFraction("dormant_units", c.Samples, env, func(total []float64, n int) int { return dormant(total, n, c.Tau) }), nil
	})
}

type dormantUnitsConfig struct {
	Tau     float64 `json:"tau" doc:"largest normalised score of a dormant unit; 0 counts units that are 0 on every example"`
	Samples int     `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones"`
}

func (c dormantUnitsConfig) Validate() error {
	var err error
	if !(c.Tau >= 0 && c.Tau <= 1e6) {
		err = component.Fieldf("tau", "must be between 0 and 1e6, is %v", c.Tau)
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// dormant counts the units i of a layer with score
//
//	s_i = mean_b|h_bi| / (mean_k mean_b|h_bk| + 1e-9) ≤ τ
//
// The paper divides by the layer's sum so that "scores sum to 1"; its code
// divides by the layer's mean, which is what the τ of 0.025 and 0.1 in the
// paper go with. The whole network's value pools the units of all layers, as
// in that code, rather than averaging layers' shares.
func dormant(total []float64, n int, tau float64) int {
	var mean float64
	for _, t := range total {
		mean += t / float64(n)
	}
	mean /= float64(len(total))
	count := 0
	for _, t := range total {
		if t/float64(n)/(mean+1e-9) <= tau {
			count++
		}
	}
	return count
}
