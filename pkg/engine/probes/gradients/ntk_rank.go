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
			Name:    "ntk-rank",
			Paper:   "Lyle et al. 2024, Disentangling the Causes of Plasticity Loss in Neural Networks (empirical neural tangent kernel); Jacot et al. 2018",
			Summary: "rank of the empirical neural tangent kernel on a few examples, over their number",
			Needs:   []component.Capability{component.Gradients, component.Stream},
		},
		Metrics: []probe.Metric{
			{
				Metric: "ntk_rank", Title: "Rank of the neural tangent kernel",
				Unit: "share of examples", Range: probe.Share,
			},
		},
		Every: "task",
		At:    "end",
	}, ntkRankConfig{Samples: 64}, nil, newNTKRank)
}

type ntkRankConfig struct {
	Samples int `json:"samples" doc:"examples of the current task, the first ones, at most 100; the cost grows with samples²·outputs·parameters"`
}

func (c ntkRankConfig) Validate() error { return checkGram(c.Samples) }

// newNTKRank measures the rank of K_ij = Σ_k ⟨∂f_k(x_i)/∂θ, ∂f_k(x_j)/∂θ⟩, the
// trace over the outputs f_k (logits; those of the task's own head) of the kernel;
// see [gram] for what counts as the rank.
func newNTKRank(c ntkRankConfig, env probe.Env) (probe.Probe, error) {
	p := newGram("ntk_rank", c.Samples, env)
	p.scalar = func(b *graph.Builder, net nn.Activations, _ graph.Node) graph.Node {
		return b.Sum(b.Mul(net.Output, b.Input("ntk/output", net.Output.Shape()...)))
	}
	p.choose = func(program *graph.Program, k int) {
		which := program.Input("ntk/output")
		clear(which)
		first, _ := env.Info.HeadOf(p.one.Task)
		which[first+k] = 1
	}
	p.count = func(task int) int {
		p.one.Task = task
		_, n := env.Info.HeadOf(task)
		return n
	}
	return p, nil
}
