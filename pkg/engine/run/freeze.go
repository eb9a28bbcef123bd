package run

import (
	"math"

	"neoteny/pkg/engine/graph"
)

// freezer holds a learner that has diverged still, where the spec says so: from the step
// that diverged on it is evaluated and not trained, with the state of the last good
// step. A step diverges whose loss is not finite, or that leaves a weight or a state that
// is not; good is the state that the last step with a finite loss started from.
//
// Which one that is shows when a step is made and the state before it has gone. Hence two
// copies: the good state, which goes into checkpoints, and the one before the step that is
// under way. That weights are looked at after every step, which a life that ends with
// divergence does at the end of a task only, keeps values out of the run that
// depend on the instruction set: products of 0 and infinity may.
type freezer struct {
	frozen *graph.Var
	vars   []kept
}

// kept is a variable of the learner with its copies.
type kept struct{ live, good, candidate *graph.Var }

// newFreezer makes the copies of what training changes: all that stays from step to
// step but for probes, the world and the life itself, which go on.
func newFreezer(store *graph.Store) *freezer {
	space := store.Space(graph.OfLife, "life/freeze")
	f := &freezer{}
	for _, v := range store.Vars() {
		switch {
		case v.Keep != graph.Persistent, v.Owner == graph.OfProbe, v.Owner == graph.OfEnvironment, v.Owner == graph.OfLife:
			continue
		}
		f.vars = append(f.vars, kept{live: v})
	}
	for i := range f.vars {
		k := &f.vars[i]
		k.good = space.State("good/"+k.live.Name, k.live.Type, k.live.Shape...)
		k.candidate = space.New("candidate/"+k.live.Name, k.live.Type, graph.Transient, k.live.Shape...)
		k.good.CopyFrom(k.live) // should the first step diverge
	}
	f.frozen = space.State("frozen", graph.U8, 1)
	return f
}

// on reports whether the learner is frozen.
func (f *freezer) on() bool { return f != nil && f.frozen.U8[0] != 0 }

// copy takes the state before a step.
func (f *freezer) copy() {
	for _, k := range f.vars {
		k.candidate.CopyFrom(k.live)
	}
}

// keep says that the state copied last is good.
func (f *freezer) keep() {
	for _, k := range f.vars {
		// No program knows the copies, so they may change places.
		g, c := k.good, k.candidate
		g.F32, c.F32 = c.F32, g.F32
		g.F64, c.F64 = c.F64, g.F64
		g.I32, c.I32 = c.I32, g.I32
		g.U8, c.U8 = c.U8, g.U8
	}
}

// diverged reports whether the present state is not finite.
func (f *freezer) diverged() bool {
	for _, k := range f.vars {
		if !allFinite(k.live.F32) {
			return true
		}
	}
	return false
}

// freeze ends the training.
func (f *freezer) freeze() {
	f.frozen.U8[0] = 1
	f.restore()
}

// restore gives the learner the state of the last good step.
func (f *freezer) restore() {
	for _, k := range f.vars {
		k.live.CopyFrom(k.good)
	}
}

// load takes over what another life with the same learner has kept.
func (f *freezer) load(from *freezer) {
	f.frozen.CopyFrom(from.frozen)
	for i, k := range f.vars {
		k.good.CopyFrom(from.vars[i].good)
	}
}

func allFinite(values []float32) bool {
	for _, v := range values {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// learn makes the step that has begun: an update, or, of a learner that is frozen, a
// look at the batch.
func (l *Life) learn() error {
	if l.freezer.on() {
		return l.look()
	}
	if l.freezer != nil {
		l.freezer.copy()
	}
	return l.learned(l.learner.Step(&l.now))
}

// learned takes the outcome of an update, err, and freezes a learner that has diverged
// with it.
func (l *Life) learned(err error) error {
	if l.freezer == nil {
		return err
	}
	if isDiverged(err) {
		l.freezer.freeze()
		l.stream.Batch(l.now.TaskStep, l.batch) // methods may have changed it
		return l.look()
	}
	if err != nil {
		return err
	}
	l.freezer.keep()
	if l.freezer.diverged() {
		l.freezer.freeze()
		l.now.Diverged = true
	}
	return nil
}

// look fills in the results of a step in which nothing is learned.
func (l *Life) look() error {
	s := &l.now
	s.Diverged = true
	e, err := l.learner.Evaluate(s.Batch)
	if err != nil {
		return err
	}
	var sum float64
	for _, v := range e.Losses {
		sum += float64(v)
	}
	s.Loss = float32(sum / float64(len(e.Losses)))
	s.Correct, s.Output, s.Features = e.Correct, e.Output, e.Features
	return nil
}

// nothing fills in what could not be measured.
func nothing(values []float32) {
	for i := range values {
		values[i] = float32(math.NaN())
	}
}
