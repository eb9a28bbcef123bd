// Package units has probes of what single hidden units do: which are active, idle,
// alike or free.
package units

import (
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

// unitFraction measures the share of hidden units that are idle by some rule:
// per layer, and in the whole network as all idle units over all units.
type unitFraction struct {
	columns []probe.Column
	samples int
	units   []*nn.Units
	total   []float64 // Σ_b |h_bi| of one layer's units
	// of is summed up over the rows instead of |h|, if it is set.
	of func(h float32) float64
	// idle counts idle units, given Σ_b |h_bi| over n rows: samples, or samples
	// and places of a convolution or a sequence.
	idle func(total []float64, n int) int
}

func newUnitFraction(metric string, samples int, env probe.Env, idle func([]float64, int) int) *unitFraction {
	p := &unitFraction{columns: measure.UnitColumns(metric, env.Network), samples: samples, units: env.Network.Units(), idle: idle}
	widest := 0
	for _, u := range env.Network.Units() {
		widest = max(widest, u.N)
	}
	p.total = make([]float64, widest)
	return p
}

// Columns implements [probe.Probe].
func (p *unitFraction) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *unitFraction) Samples() int { return p.samples }

// Measure implements [probe.Measurer].
func (p *unitFraction) Measure(e *learner.Evaluation, values []float32) error {
	idle, units := 0, 0
	for layer, h := range e.Features {
		total := p.total[:p.units[layer].N]
		clear(total)
		rows := len(h) / len(total)
		for b := range rows {
			row := h[b*len(total) : (b+1)*len(total)]
			if p.of != nil {
				for i, v := range row {
					total[i] += p.of(v)
				}
				continue
			}
			for i, v := range row {
				if v < 0 {
					v = -v
				}
				total[i] += float64(v)
			}
		}
		n := p.idle(total, rows)
		values[1+layer] = float32(float64(n) / float64(len(total)))
		idle += n
		units += len(total)
	}
	values[0] = float32(float64(idle) / float64(units))
	return nil
}
