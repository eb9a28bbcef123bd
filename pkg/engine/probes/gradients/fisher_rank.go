package gradients

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "fisher-rank",
			Paper:   "Lewandowski et al. 2024, Directions of Curvature as an Explanation for Loss of Plasticity",
			Summary: "rank of the empirical Fisher matrix on a few examples, over their number",
			Needs:   []component.Capability{component.Gradients, component.Stream},
		},
		Metrics: []probe.Metric{
			{Metric: "fisher_rank", Title: "Rank of the Fisher matrix", Unit: "share of examples", Range: probe.Share},
		},
		Every: "task",
		At:    "end",
	}, fisherRankConfig{Samples: 64}, nil, newFisherRank)
}

type fisherRankConfig struct {
	Samples int `json:"samples" doc:"examples of the current task, the first ones, at most 100; the cost grows with samples²·parameters"`
}

func (c fisherRankConfig) Validate() error { return checkGram(c.Samples) }

// newFisherRank measures the rank of F = Σ_i g_i·g_iᵀ, g_i = ∂ℓ_i/∂θ being the
// gradient of example i's loss under its own label, without penalties. F shares
// its eigenvalues with G_ij = ⟨g_i, g_j⟩; see [gram] for what counts as the rank.
func newFisherRank(c fisherRankConfig, env probe.Env) (probe.Probe, error) {
	p := newGram("fisher_rank", c.Samples, env)
	p.scalar = func(b *graph.Builder, _ nn.Activations, losses graph.Node) graph.Node { return b.Sum(losses) }
	return p, nil
}
