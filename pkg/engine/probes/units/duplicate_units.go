package units

import (
	"errors"
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
			Name:    "duplicate-units",
			Paper:   "Joudaki et al. 2025, Barriers for Learning in an Evolving World",
			Summary: "share of hidden units whose values are those of another unit of the layer, up to a positive factor",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{
				Metric: "duplicate_units", Title: "Duplicate units",
				Unit: "share of units", Range: probe.Share, Better: probe.Lower,
			},
		},
		Every: "task",
		At:    "end",
	}, duplicateUnitsConfig{Cosine: 0.95, Samples: 500}, nil, newDuplicateUnits)
}

type duplicateUnitsConfig struct {
	Cosine  float64 `json:"cosine" doc:"cosine of the angle between two units' values over the examples above which they are duplicates"`
	Samples int     `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones; the cost grows with samples·units²"`
}

func (c duplicateUnitsConfig) Validate() error {
	var err error
	if !(c.Cosine > 0 && c.Cosine < 1) {
		err = component.Fieldf("cosine", "must be between 0 and 1, is %v", c.Cosine)
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// duplicateUnits counts the units i for which a later unit j > i of the layer
// has ⟨h_i, h_j⟩/(‖h_i‖·‖h_j‖) > cosine, h_i being unit i's values over examples
// (and places): of a group of equal units all but one. A unit that is 0
// everywhere is not a duplicate. The whole network's value is a share of all
// its units.
type duplicateUnits struct {
	columns []probe.Column
	cfg     duplicateUnitsConfig
	units   []*nn.Units
	h       []float64 // [units][rows], each unit scaled to length 1
}

func newDuplicateUnits(c duplicateUnitsConfig, env probe.Env) (probe.Probe, error) {
	return &duplicateUnits{columns: measure.UnitColumns("duplicate_units", env.Network), cfg: c, units: env.Network.Units()}, nil
}

// Columns implements [probe.Probe].
func (p *duplicateUnits) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *duplicateUnits) Samples() int { return p.cfg.Samples }

// Measure implements [probe.Measurer].
func (p *duplicateUnits) Measure(e *learner.Evaluation, values []float32) error {
	duplicates, units := 0, 0
	for layer, h := range e.Features {
		n := p.units[layer].N
		found := p.count(h, len(h)/n, n)
		values[1+layer] = float32(float64(found) / float64(n))
		duplicates += found
		units += n
	}
	values[0] = float32(float64(duplicates) / float64(units))
	return nil
}

func (p *duplicateUnits) count(h []float32, rows, units int) (found int) {
	if cap(p.h) < len(h) {
		p.h = make([]float64, len(h))
	}
	p.h = p.h[:len(h)]
	for i := range units {
		unit := p.h[i*rows : (i+1)*rows]
		var squares float64
		for r := range unit {
			unit[r] = float64(h[r*units+i])
			squares += float64(unit[r] * unit[r])
		}
		if squares == 0 {
			continue
		}
		length := math.Sqrt(squares)
		for r := range unit {
			unit[r] /= length
		}
	}
	for i := range units {
		for j := i + 1; j < units; j++ {
			var cosine float64
			a, b := p.h[i*rows:(i+1)*rows], p.h[j*rows:(j+1)*rows]
			for r, v := range a {
				cosine += float64(v * b[r])
			}
			if cosine > p.cfg.Cosine {
				found++
				break
			}
		}
	}
	return found
}
