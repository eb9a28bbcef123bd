// Package features has probes of the layers' features as matrices: their ranks, and
// how alike they are to earlier ones.
package features

import (
	"fmt"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

// rank measures a function of the singular values of each layer's matrix of
// features H [samples][columns]; see [examples]. The whole network's value is
// the mean over layers.
type rank struct {
	measure.Examples
	columns []probe.Column
	samples int
	centre  bool      // subtract from every column its mean
	centred []float32 // scratch of centre
	svd     linalg.SVD
	// of maps singular values, in descending order and not all 0, to a rank.
	of func(sigma []float64) float64
}

func newRank(metric string, samples int, env probe.Env, of func([]float64) float64) *rank {
	return &rank{Examples: measure.NewExamples(env, samples), columns: measure.UnitColumns(metric, env.Network), samples: samples, of: of}
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
		h = p.Matrix(layer, h, e.N)
		if p.centre {
			p.centred = append(p.centred[:0], h...)
			h = p.centred
			measure.Centre(h, e.N)
		}
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
