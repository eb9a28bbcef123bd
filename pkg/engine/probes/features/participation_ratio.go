package features

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "participation-ratio",
			Paper:   "Gao et al. 2017, A theory of multineuronal dimensionality, dynamics and measurement",
			Summary: "squared trace of the features' covariance over the trace of its square (what others call stable rank may be this)",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "participation_ratio", Title: "Participation ratio", Unit: "dimensions", Range: probe.Positive},
		},
		Every: "task",
		At:    "end",
	}, participationRatioConfig{Samples: 2000}, nil, func(c participationRatioConfig, env probe.Env) (probe.Probe, error) {
		p := newRank("participation_ratio", c.Samples, env, participationRatio)
		p.centre = true
		return p, nil
	})
}

type participationRatioConfig struct {
	Samples int `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones; the cost grows with samples·units²"`
}

func (c participationRatioConfig) Validate() error { return measure.CheckSamples(c.Samples) }

// participationRatio returns (tr C)²/tr C² = (Σλ)²/Σλ², C being the covariance of
// a layer's features over examples and λ_i = σ_i² its eigenvalues up to a factor:
// between 1 and the number of units.
func participationRatio(sigma []float64) float64 {
	var sum, squares float64
	for _, s := range sigma {
		r := s / sigma[0]
		lambda := float64(r * r)
		sum += lambda
		squares += float64(lambda * lambda)
	}
	return float64(sum*sum) / squares
}
