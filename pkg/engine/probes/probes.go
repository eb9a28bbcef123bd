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

// testTask returns how many of a task's first samples held-out examples the
// learner has right, and how many they are.
func testTask(t probe.Tasks, task, samples int) (correct float64, n int, err error) {
	e, err := t.Evaluate(task, samples)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range e.Correct {
		correct += float64(c)
	}
	return correct, e.N, nil
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
	units   []*nn.Units
	total   []float64 // Σ_b |h_bi| of one layer's units
	// idle counts idle units, given Σ_b |h_bi| over n rows: samples, or samples
	// and places of a convolution or a sequence.
	idle func(total []float64, n int) int
}

func newUnitFraction(metric string, samples int, env probe.Env, idle func([]float64, int) int) *unitFraction {
	p := &unitFraction{columns: unitColumns(metric, env.Network), samples: samples, units: env.Network.Units(), idle: idle}
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
			for i, v := range h[b*len(total) : (b+1)*len(total)] {
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

// rank measures a function of the singular values of each layer's feature
// matrix H [samples][units], its columns not centred. The whole network's value
// is the mean over layers. A channel of a convolution, or a unit that a sequence
// passes through, has its mean over places there; a unit with two outputs has
// two columns.
type rank struct {
	columns []probe.Column
	samples int
	units   []*nn.Units
	means   [][]float32 // [samples][outputs·units] of layers with several places
	svd     linalg.SVD
	// of maps singular values, in descending order and not all 0, to a rank.
	of func(sigma []float64) float64
}

func newRank(metric string, samples int, env probe.Env, of func([]float64) float64) *rank {
	p := &rank{columns: unitColumns(metric, env.Network), samples: samples, units: env.Network.Units(), of: of}
	for _, u := range p.units {
		var means []float32
		if u.Places > 1 {
			means = make([]float32, samples*u.Outputs*u.N)
		}
		p.means = append(p.means, means)
	}
	return p
}

// matrix returns a layer's features [n][columns].
func (p *rank) matrix(layer int, h []float32, n int) []float32 {
	means := p.means[layer]
	if means == nil {
		return h
	}
	places := p.units[layer].Places
	columns := len(h) / n / places
	means = means[:n*columns]
	for i := range n {
		for j := range columns {
			var sum float64
			for place := range places {
				sum += float64(h[(i*places+place)*columns+j])
			}
			means[i*columns+j] = float32(sum / float64(places))
		}
	}
	return means
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
		h = p.matrix(layer, h, e.N)
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
