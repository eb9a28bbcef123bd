package features

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "srank99",
			Paper:   "Kumar et al. 2021, Implicit Under-Parameterization Inhibits Data-Efficient Deep Reinforcement Learning",
			Summary: "how many singular values of a layer's features make up 99 % of their sum",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{
				Metric: "srank99", Title: "Stable rank (99 % of singular values)",
				Unit: "dimensions", Range: probe.Positive,
			},
		},
		Every: "task",
		At:    "end",
	}, srank99Config{Samples: 2000}, nil, func(c srank99Config, env probe.Env) (probe.Probe, error) {
		return newRank("srank99", c.Samples, env, srank99), nil
	})
}

type srank99Config struct {
	Samples int `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones; the cost grows with samples·units²"`
}

func (c srank99Config) Validate() error { return measure.CheckSamples(c.Samples) }

// srank99 returns the least k with Σ_{i≤k} σ_i / Σσ ≥ 0.99, over the values
// themselves, not their squares: srank_δ with δ = 0.01. Some code bases call it
// stable rank.
func srank99(sigma []float64) float64 {
	var sum, head float64
	for _, s := range sigma {
		sum += s
	}
	for k, s := range sigma {
		if head += s; head/sum >= 0.99 {
			return float64(k + 1)
		}
	}
	return float64(len(sigma))
}
