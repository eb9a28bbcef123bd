// Package recycle makes hidden units new.
package recycle

import (
	"fmt"

	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
)

// Recycler makes hidden units of one layer new: incoming weights drawn afresh
// from the distribution that the network started from, bias 0, scale of a
// normalisation 1, outgoing weights 0, and what the optimiser and other methods remember of all these
// weights back at its start.
type Recycler struct {
	units  *nn.Units
	states *optim.States
	keys   []rng.Key // of the draws, parallel to units.In
	drawn  []float32
}

func New(env method.Env, u *nn.Units) *Recycler {
	r := &Recycler{units: u, states: env.States}
	for i, s := range u.In {
		r.keys = append(r.keys, env.Key(fmt.Sprintf("incoming/%s/%d", u.Layer, i)))
		if n := s.Len(); n > len(r.drawn) {
			r.drawn = make([]float32, n)
		}
	}
	return r
}

// Recycle makes a unit new.
func (r *Recycler) Recycle(step int64, unit int) {
	for i, s := range r.units.In {
		r.Write(s, unit, r.Incoming(i, step, unit))
	}
	for _, s := range r.units.Gain {
		fresh := r.drawn[:s.Len()]
		s.Param.Init.Fill(fresh, rng.Key{}, 0) // a constant
		r.Write(s, unit, fresh)
	}
	for _, s := range r.units.Bias {
		r.Write(s, unit, nil)
	}
	for _, s := range r.units.Out {
		r.Write(s, unit, nil)
	}
}

// Incoming draws new weights for what slice i of the units' In has of a unit. The
// draw is a function of step and unit, so that a unit that is recycled again gets
// other weights. They are valid until the next draw.
func (r *Recycler) Incoming(i int, step int64, unit int) []float32 {
	s := r.units.In[i]
	fresh := r.drawn[:s.Len()]
	s.Param.Init.Fill(fresh, r.keys[i], uint64(step)*uint64(r.units.N)+uint64(unit))
	return fresh
}

// Write sets the elements of a unit, to 0 where values is nil, and resets
// their states.
func (r *Recycler) Write(s nn.Slice, unit int, values []float32) {
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
