// Package methods has the interventions that come with neoteny, one file each.
package methods

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
)

// checkRange reports a parameter outside [lo, hi], NaN included.
func checkRange(name string, v, lo, hi float64) error {
	if !(v >= lo && v <= hi) {
		return component.Fieldf(name, "must be between %v and %v, is %v", lo, hi, v)
	}
	return nil
}

// checkDecay reports a decay factor outside [0, 1).
func checkDecay(name string, v float64) error {
	if !(v >= 0 && v < 1) {
		return component.Fieldf(name, "must be in [0, 1), is %v", v)
	}
	return nil
}

// recycler makes hidden units of one layer new: incoming weights drawn afresh
// from the distribution that the network started from, bias 0, scale of a
// normalisation 1, outgoing weights 0, and what the optimiser and other methods remember of all these
// weights back at its start.
type recycler struct {
	units  *nn.Units
	states *optim.States
	keys   []rng.Key // of the draws, parallel to units.In
	drawn  []float32
}

func newRecycler(env method.Env, u *nn.Units) *recycler {
	r := &recycler{units: u, states: env.States}
	for i, s := range u.In {
		r.keys = append(r.keys, env.Key(fmt.Sprintf("incoming/%s/%d", u.Layer, i)))
		if n := s.Len(); n > len(r.drawn) {
			r.drawn = make([]float32, n)
		}
	}
	return r
}

// recycle makes a unit new. The draw is a function of step and unit, so that a
// unit that is recycled again gets other weights.
func (r *recycler) recycle(step int64, unit int) {
	draw := uint64(step)*uint64(r.units.N) + uint64(unit)
	for i, s := range r.units.In {
		fresh := r.drawn[:s.Len()]
		s.Param.Init.Fill(fresh, r.keys[i], draw)
		r.write(s, unit, fresh)
	}
	for _, s := range r.units.Gain {
		fresh := r.drawn[:s.Len()]
		s.Param.Init.Fill(fresh, rng.Key{}, 0) // a constant
		r.write(s, unit, fresh)
	}
	for _, s := range r.units.Bias {
		r.write(s, unit, nil)
	}
	for _, s := range r.units.Out {
		r.write(s, unit, nil)
	}
}

// write sets the elements of a unit, to 0 where values is nil, and resets
// their states.
func (r *recycler) write(s nn.Slice, unit int, values []float32) {
	offset, length, stride, count := s.Span(unit)
	for c := range count {
		from := offset + c*stride
		run := s.Param.Var.F32[from : from+length]
		if values == nil {
			clear(run)
		} else {
			copy(run, values[c*length:])
		}
		r.states.Reset(s.Param, from, from+length)
	}
}
