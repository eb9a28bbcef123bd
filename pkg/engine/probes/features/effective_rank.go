package features

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "effective-rank",
			Paper:   "Roy & Vetterli 2007, The Effective Rank: A Measure of Effective Dimensionality",
			Summary: "exponential of the entropy of the normalised singular values of a layer's features",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "effective_rank", Title: "Effective rank", Unit: "dimensions", Range: probe.Positive},
		},
		Every: "task",
		At:    "end",
	}, effectiveRankConfig{Samples: 2000}, nil, func(c effectiveRankConfig, env probe.Env) (probe.Probe, error) {
		return newRank("effective_rank", c.Samples, env, effectiveRank), nil
	})
}

type effectiveRankConfig struct {
	Samples int `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones; the cost grows with samples·units²"`
}

func (c effectiveRankConfig) Validate() error { return measure.CheckSamples(c.Samples) }

// effectiveRank returns exp(−Σ p_i ln p_i) with p_i = σ_i/Σσ and 0·ln 0 = 0:
// between 1 and the number of units.
func effectiveRank(sigma []float64) float64 {
	var sum, entropy float64
	for _, s := range sigma {
		sum += s
	}
	for _, s := range sigma {
		if p := s / sum; p > 0 {
			entropy -= float64(p * linalg.Log(p))
		}
	}
	return linalg.Exp(entropy)
}
