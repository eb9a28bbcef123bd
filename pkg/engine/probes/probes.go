// Package probes has the measurements that come with neoteny, one file each.
package probes

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
)

// checkSamples checks how many examples a probe evaluates.
func checkSamples(n int) error {
	if n < 1 || n > 1<<16 {
		return component.Fieldf("samples", "must be between 1 and %d, is %d", 1<<16, n)
	}
	return nil
}

// unitColumns are a metric's columns: the whole network, then each group of
// hidden units.
func unitColumns(metric string, net nn.Network) []probe.Column {
	columns := []probe.Column{{Metric: metric}}
	for _, u := range net.Units() {
		columns = append(columns, probe.Column{Metric: metric, Layer: u.Layer})
	}
	return columns
}

// unitFraction measures the share of hidden units that are idle by some rule:
// per layer, and in the whole network as all idle units over all units.
type unitFraction struct {
	columns []probe.Column
	samples int
	total   []float64 // Σ_b |h_bi| of one layer's units
	// idle counts idle units, given Σ_b |h_bi| over n samples.
	idle func(total []float64, n int) int
}

func newUnitFraction(metric string, samples int, env probe.Env, idle func([]float64, int) int) *unitFraction {
	p := &unitFraction{columns: unitColumns(metric, env.Network), samples: samples, idle: idle}
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
		total := p.total[:len(h)/e.N]
		clear(total)
		for b := range e.N {
			for i, v := range h[b*len(total) : (b+1)*len(total)] {
				if v < 0 {
					v = -v
				}
				total[i] += float64(v)
			}
		}
		n := p.idle(total, e.N)
		values[1+layer] = float32(float64(n) / float64(len(total)))
		idle += n
		units += len(total)
	}
	values[0] = float32(float64(idle) / float64(units))
	return nil
}

// rank measures a function of the singular values of each layer's feature
// matrix H [samples][units], its columns not centred. The whole network's value
// is the mean over layers.
type rank struct {
	columns []probe.Column
	samples int
	svd     linalg.SVD
	// of maps singular values, in descending order and not all 0, to a rank.
	of func(sigma []float64) float64
}

func newRank(metric string, samples int, env probe.Env, of func([]float64) float64) *rank {
	return &rank{columns: unitColumns(metric, env.Network), samples: samples, of: of}
}

// Columns implements [probe.Probe].
func (p *rank) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *rank) Samples() int { return p.samples }

// Measure implements [probe.Measurer]. Where a layer's features are all 0, its
// rank is 0.
func (p *rank) Measure(e *learner.Evaluation, values []float32) error {
	var sum float64
	for layer, h := range e.Features {
		sigma, err := p.svd.Values(h, e.N, len(h)/e.N)
		if err != nil {
			return fmt.Errorf("layer %s: %w", p.columns[1+layer].Layer, err)
		}
		r := 0.0
		if sigma[0] > 0 {
			r = p.of(sigma)
		}
		values[1+layer] = float32(r)
		sum += r
	}
	values[0] = float32(sum / float64(len(e.Features)))
	return nil
}
