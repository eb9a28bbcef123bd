package units

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "active-units",
			Paper:   "Ma et al. 2024, Revisiting Plasticity in Visual Reinforcement Learning (fraction of active units, FAU)",
			Summary: "share of the hidden units' values, over units and examples, that are active",
			Needs:   []component.Capability{component.Units},
		},
		Metrics: []probe.Metric{
			{Metric: "active_units", Title: "Active units", Unit: "share of activations", Range: probe.Share},
		},
		Every: "task",
		At:    "end",
	}, activeUnitsConfig{Inactive: "zero", Samples: 2000}, nil, newActiveUnits)
}

type activeUnitsConfig struct {
	Inactive string `json:"inactive" doc:"values that are not active: 0; those of a tanh beyond ±0.99; those of a sigmoid outside [0.01, 0.99]" enum:"zero|tanh|sigmoid"`
	Samples  int    `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones"`
}

func (c activeUnitsConfig) Validate() error {
	var err error
	if inactive[c.Inactive] == nil {
		err = component.Fieldf("inactive", "must be zero, tanh or sigmoid, is %q", c.Inactive)
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

var inactive = map[string]func(h float32) bool{
	"zero":    func(h float32) bool { return h == 0 },
	"tanh":    func(h float32) bool { return h > 0.99 || h < -0.99 },
	"sigmoid": func(h float32) bool { return h > 0.99 || h < 0.01 },
}

// activeUnits emits 1 − #{(b, i): h_bi inactive}/(n·units), of every layer and of
// all units together: one minus the sparsity of the features. UPGD's code calls
// its complement, on one example, dead units.
type activeUnits struct {
	columns  []probe.Column
	units    []*nn.Units
	samples  int
	inactive func(h float32) bool
}

func newActiveUnits(c activeUnitsConfig, env probe.Env) (probe.Probe, error) {
	return &activeUnits{
		columns: measure.UnitColumns("active_units", env.Network), units: env.Network.Units(), samples: c.Samples, inactive: inactive[c.Inactive],
	}, nil
}

// Columns implements [probe.Probe].
func (p *activeUnits) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *activeUnits) Samples() int { return p.samples }

// Measure implements [probe.Measurer]. A unit that has several values for an
// example is active to the share of them that is.
func (p *activeUnits) Measure(e *learner.Evaluation, values []float32) error {
	var all, units float64
	for layer, h := range e.Features {
		active := 0
		for _, v := range h {
			if !p.inactive(v) {
				active++
			}
		}
		share := float64(active) / float64(len(h))
		values[1+layer] = float32(share)
		n := float64(p.units[layer].N)
		all += float64(share * n)
		units += n
	}
	values[0] = float32(all / units)
	return nil
}
