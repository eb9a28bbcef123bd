package weights

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "weight-rank",
			Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
			Summary: "rank of the weight matrices as a share of the largest that they could have",
			Needs:   []component.Capability{component.Core},
		},
		Metrics: []probe.Metric{
			{Metric: "weight_rank", Title: "Rank of the weights", Unit: "share of the full rank", Range: probe.Share},
		},
		Every: "task",
		At:    "end",
	}, weightRankConfig{}, nil, newWeightRank)
}

type weightRankConfig struct{}

func (weightRankConfig) Validate() error { return nil }

// weightRank emits Σ_l rank(W_l) / Σ_l min(rows, columns of W_l) over all
// weights, and the share for each layer. A rank is the number of singular values
// above σ₁·max(rows, columns)·2^−23, as numpy and PyTorch have it for float32. A
// convolution's matrix has a column for each channel. The cost grows with the
// matrices' smaller side squared times the larger.
type weightRank struct {
	columns []probe.Column
	params  [][]*nn.Param // by layer
	svd     linalg.SVD
}

func newWeightRank(_ weightRankConfig, env probe.Env) (probe.Probe, error) {
	layers, params := measure.LayerParams(env.Network, measure.IsWeight)
	return &weightRank{columns: measure.LayerColumns("weight_rank", layers), params: params}, nil
}

// Columns implements [probe.Probe].
func (p *weightRank) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer]: weights are looked at without data.
func (p *weightRank) Samples() int { return 0 }

// Measure implements [probe.Measurer].
func (p *weightRank) Measure(_ *learner.Evaluation, values []float32) error {
	var rank, most int
	for i, params := range p.params {
		var r, m int
		for _, w := range params {
			shape := w.Var.Shape
			columns := shape[len(shape)-1]
			rows := w.Var.Len() / columns
			sigma, err := p.svd.Values(w.Var.F32, rows, columns)
			if err != nil {
				return fmt.Errorf("layer %s: %w", w.Layer, err)
			}
			smallest := sigma[0] * float64(max(rows, columns)) / (1 << 23)
			for _, s := range sigma {
				if s > smallest {
					r++
				}
			}
			m += len(sigma)
		}
		values[1+i] = float32(float64(r) / float64(m))
		rank += r
		most += m
	}
	values[0] = float32(float64(rank) / float64(most))
	return nil
}
