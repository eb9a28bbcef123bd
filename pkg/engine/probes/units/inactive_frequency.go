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
			Name:    "inactive-frequency",
			Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning (dormant units of incremental CIFAR-100)",
			Summary: "share of hidden units that are not 0 on less than a given share of examples",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{
				Metric: "inactive_frequency", Title: "Rarely active units",
				Unit: "share of units", Range: probe.Share, Better: probe.Lower,
			},
		},
		Every: "task",
		At:    "end",
	}, inactiveFrequencyConfig{Frequency: 0.01, Samples: 1000}, map[string]inactiveFrequencyConfig{
		"joudaki-dead-units": {Frequency: 0.05, Threshold: 1e-7, Samples: 1000},
	}, newInactiveFrequency)
}

type inactiveFrequencyConfig struct {
	Frequency float64 `json:"frequency" doc:"share of examples from which on a unit counts as active"`
	Threshold float64 `json:"threshold" doc:"largest size of a value that counts as 0"`
	Samples   int     `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones"`
}

func (c inactiveFrequencyConfig) Validate() error {
	var err error
	if !(c.Frequency > 0 && c.Frequency <= 1) {
		err = component.Fieldf("frequency", "must be above 0 and at most 1, is %v", c.Frequency)
	}
	if !(c.Threshold >= 0 && c.Threshold <= 1e6) {
		err = errors.Join(err, component.Fieldf("threshold", "must be between 0 and 1e6, is %v", c.Threshold))
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// newInactiveFrequency counts the units i with #{b: |h_bi| > threshold}/n below
// frequency. The paper calls them dormant; ReDo's dormant units are those with
// small values, whatever their frequency. The whole network's value is a share
// of all its units.
func newInactiveFrequency(c inactiveFrequencyConfig, env probe.Env) (probe.Probe, error) {
	threshold := float32(c.Threshold)
	p := newUnitFraction("inactive_frequency", c.Samples, env, func(active []float64, n int) int {
		count := 0
		for _, a := range active {
			if a/float64(n) < c.Frequency {
				count++
			}
		}
		return count
	})
	p.of = func(h float32) float64 {
		if h > threshold || -h > threshold {
			return 1
		}
		return 0
	}
	return p, nil
}
