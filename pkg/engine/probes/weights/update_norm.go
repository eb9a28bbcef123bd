package weights

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "update-norm",
			Paper:   "Liu et al. 2025, Plasticine: plasticity optimization in deep reinforcement learning (weight difference)",
			Summary: "how far the parameters have moved since the last measurement, by root mean square",
			Needs:   []component.Capability{component.Core},
		},
		Metrics: []probe.Metric{
			{Metric: "update_norm", Title: "Distance moved", Unit: "root mean square", Range: probe.Positive},
		},
		Every:     "task",
		At:        "end",
		Remembers: true,
	}, updateNormConfig{}, nil, newUpdateNorm)
}

type updateNormConfig struct{}

func (updateNormConfig) Validate() error { return nil }

// updateNorm emits ‖θ − θ'‖₂/√P, where θ' are the P parameters as they were at
// the last measurement, or at the start: those of the whole network and of each
// layer.
type updateNorm struct {
	columns []probe.Column
	params  [][]*nn.Param  // by layer
	last    [][]*graph.Var // θ', parallel to params
}

func newUpdateNorm(_ updateNormConfig, env probe.Env) (probe.Probe, error) {
	layers, params := measure.LayerParams(env.Network, measure.IsAny)
	p := &updateNorm{columns: measure.LayerColumns("update_norm", layers), params: params}
	for _, layer := range params {
		var last []*graph.Var
		for _, w := range layer {
			v := env.State("last/"+w.Var.Name, graph.F32, w.Var.Shape...)
			copy(v.F32, w.Var.F32)
			last = append(last, v)
		}
		p.last = append(p.last, last)
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *updateNorm) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer]: parameters are looked at without data.
func (p *updateNorm) Samples() int { return 0 }

// Measure implements [probe.Measurer].
func (p *updateNorm) Measure(_ *learner.Evaluation, values []float32) error {
	var all float64
	count := 0
	for i, params := range p.params {
		var sum float64
		n := 0
		for k, w := range params {
			last := p.last[i][k].F32
			for j, v := range w.Var.F32 {
				d := float64(v) - float64(last[j])
				sum += float64(d * d)
			}
			copy(last, w.Var.F32)
			n += len(last)
		}
		values[1+i] = float32(math.Sqrt(sum / float64(n)))
		all += sum
		count += n
	}
	values[0] = float32(math.Sqrt(all / float64(count)))
	return nil
}
