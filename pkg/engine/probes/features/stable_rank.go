package features

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "stable-rank",
			Paper:   "Rudelson & Vershynin 2007, Sampling from Large Matrices: An Approach through Geometric Functional Analysis",
			Summary: "squared Frobenius norm over squared spectral norm of a layer's features (what others call stable rank may be srank99)",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "stable_rank", Title: "Stable rank", Unit: "dimensions", Range: probe.Positive},
		},
		Every: "task",
		At:    "end",
	}, stableRankConfig{Samples: 2000}, nil, func(c stableRankConfig, env probe.Env) (probe.Probe, error) {
		return newRank("stable_rank", c.Samples, env, stableRank), nil
	})
}

type stableRankConfig struct {
	Samples int `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones; the cost grows with samples·units²"`
}

func (c stableRankConfig) Validate() error { return measure.CheckSamples(c.Samples) }

// stableRank returns ‖H‖_F²/σ₁² = Σ (σ_i/σ₁)²: between 1 and the number of
// units.
func stableRank(sigma []float64) float64 {
	var sum float64
	for _, s := range sigma {
		r := s / sigma[0]
		sum += float64(r * r)
	}
	return sum
}
