package weights

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "weight-magnitude",
			Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning",
			Summary: "mean absolute weight, biases left out",
			Needs:   []component.Capability{component.Core},
		},
		Metrics: []probe.Metric{{Metric: "weight_magnitude", Title: "Mean absolute weight", Range: probe.Positive}},
		Every:   "task",
		At:      "end",
	}, weightMagnitudeConfig{}, nil, newWeightMagnitude)
}

type weightMagnitudeConfig struct{}

func (weightMagnitudeConfig) Validate() error { return nil }

// weightMagnitude emits Σ|w|/#w over each layer's weights, output layer
// included, and over those of the whole network together.
type weightMagnitude struct {
	columns []probe.Column
	layers  [][]*nn.Param // parallel to columns[1:]
}

func newWeightMagnitude(_ weightMagnitudeConfig, env probe.Env) (probe.Probe, error) {
	p := &weightMagnitude{columns: []probe.Column{{Metric: "weight_magnitude"}}}
	index := map[string]int{}
	for _, w := range env.Network.Params() {
		if w.Role != nn.Weight {
			continue
		}
		i, known := index[w.Layer]
		if !known {
			i = len(p.layers)
			index[w.Layer] = i
			p.layers = append(p.layers, nil)
			p.columns = append(p.columns, probe.Column{Metric: "weight_magnitude", Layer: w.Layer})
		}
		p.layers[i] = append(p.layers[i], w)
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *weightMagnitude) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer]: weights are looked at without data.
func (p *weightMagnitude) Samples() int { return 0 }

// Measure implements [probe.Measurer].
func (p *weightMagnitude) Measure(_ *learner.Evaluation, values []float32) error {
	var all float64
	count := 0
	for i, params := range p.layers {
		var sum float64
		n := 0
		for _, w := range params {
			for _, v := range w.Var.F32 {
				if v < 0 {
					v = -v
				}
				sum += float64(v)
			}
			n += len(w.Var.F32)
		}
		values[1+i] = float32(sum / float64(n))
		all += sum
		count += n
	}
	values[0] = float32(all / float64(count))
	return nil
}
