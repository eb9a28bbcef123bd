package weights

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "weight-norm",
			Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
			Summary: "L1 and L2 norm of the weights, biases left out",
			Needs:   []component.Capability{component.Core},
		},
		Metrics: []probe.Metric{
			{Metric: "weight_l1", Title: "L1 norm of the weights", Range: probe.Positive},
			{Metric: "weight_l2", Title: "L2 norm of the weights", Range: probe.Positive},
		},
		Every: "task",
		At:    "end",
	}, weightNormConfig{}, nil, newWeightNorm)
}

type weightNormConfig struct{}

func (weightNormConfig) Validate() error { return nil }

// weightNorm emits Σ|w| and √Σw² over the weights of the whole network and of
// each layer, output layer included. weight-magnitude is the mean of |w|.
type weightNorm struct {
	columns []probe.Column
	params  [][]*nn.Param // by layer
}

func newWeightNorm(_ weightNormConfig, env probe.Env) (probe.Probe, error) {
	layers, params := measure.LayerParams(env.Network, measure.IsWeight)
	return &weightNorm{append(measure.LayerColumns("weight_l1", layers), measure.LayerColumns("weight_l2", layers)...), params}, nil
}

// Columns implements [probe.Probe].
func (p *weightNorm) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer]: weights are looked at without data.
func (p *weightNorm) Samples() int { return 0 }

// Measure implements [probe.Measurer].
func (p *weightNorm) Measure(_ *learner.Evaluation, values []float32) error {
	l1, l2 := values[:1+len(p.params)], values[1+len(p.params):]
	var sum, squares float64
	for i, params := range p.params {
		var s, q float64
		for _, w := range params {
			for _, v := range w.Var.F32 {
				s += math.Abs(float64(v))
				q += float64(float64(v) * float64(v))
			}
		}
		l1[1+i], l2[1+i] = float32(s), float32(math.Sqrt(q))
		sum += s
		squares += q
	}
	l1[0], l2[0] = float32(sum), float32(math.Sqrt(squares))
	return nil
}
