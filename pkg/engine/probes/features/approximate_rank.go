package features

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "approximate-rank",
			Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning; Yang et al. 2019, Harnessing Structures for Value-Based Planning",
			Summary: "how many singular values of a layer's features make up 99 % of the sum of their squares",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "approximate_rank", Title: "Approximate rank", Unit: "dimensions", Range: probe.Positive},
		},
		Every: "task",
		At:    "end",
	}, approximateRankConfig{Samples: 2000}, nil, func(c approximateRankConfig, env probe.Env) (probe.Probe, error) {
		return newRank("approximate_rank", c.Samples, env, approximateRank), nil
	})
}

type approximateRankConfig struct {
	Samples int `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones; the cost grows with samples·units²"`
}

func (c approximateRankConfig) Validate() error { return measure.CheckSamples(c.Samples) }

// approximateRank returns the least k with Σ_{i≤k} σ_i² / Σσ² ≥ 0.99; srank99 is
// the same of the values themselves.
func approximateRank(sigma []float64) float64 {
	var sum, head float64
	for _, s := range sigma {
		r := s / sigma[0]
		sum += float64(r * r)
	}
	for k, s := range sigma {
		r := s / sigma[0]
		if head += float64(r * r); head/sum >= 0.99 {
			return float64(k + 1)
		}
	}
	return float64(len(sigma))
}
