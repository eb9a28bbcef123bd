package engine

import (
	"context"
	"errors"
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
)

// Pack is several runs in lockstep on one goroutine: seeds of one trial, or
// trials that differ in numbers only. Every run has the same bits as alone. It
// pays for small networks, whose steps are over before a processor is warm:
// one operation does the work of all.
type Pack struct {
	lives  []*Life
	lanes  []*supervised
	train  *graph.Joint
	update *graph.Joint
	failed []error // by life; a life that failed is over
}

// ErrNotAlike says that runs cannot be packed: their networks, streams or
// methods differ in more than numbers, or a method runs steps of its own.
var ErrNotAlike = errors.New("the runs are not alike")

const (
	// packParams is from where on a lane gains nothing from its neighbours: its
	// arrays alone fill the vectors, and a step is long beside what surrounds it.
	packParams = 4096
	// packMax is where further lanes stop to gain.
	packMax = 64
)

// PackSize tells how many runs of the spec are worth living as one [Pack]: 1
// where a step is long enough by itself. It is a function of the spec alone, by
// the number of parameters and activations that one step goes over.
func (s *Spec) PackSize() int {
	if s.kind != nil {
		return 1
	}
	network, ok := s.network.Config.(nn.Sizer)
	if !ok {
		return 1
	}
	size, err := network.Size(s.info.Input, s.info.Outputs, s.info.Batch)
	if err != nil {
		return 1
	}
	work := float64(s.info.Batch) * (float64(size.Params) + float64(size.Activations))
	return int(max(1, min(packMax, packParams/max(work, 1))))
}

// NewPack builds the lives of the given specs and environments at step 0, side
// by side. It returns an error that is [ErrNotAlike] where they must run one
// by one.
func NewPack(specs []*Spec, envs []Env) (*Pack, error) {
	p := &Pack{failed: make([]error, len(specs))}
	for i, store := range graph.NewLanes(len(specs)) {
		l, err := newLife(specs[i].with(false), envs[i], store)
		var differs *graph.Error
		if errors.As(err, &differs) && i > 0 {
			return nil, fmt.Errorf("run %d: %w: %w", i, ErrNotAlike, err)
		}
		if err != nil {
			return nil, err
		}
		s, ok := l.learner.(*supervised)
		if !ok || s.around || l.spec.info.StepsPerTask != specs[0].info.StepsPerTask {
			return nil, fmt.Errorf("run %d: %w", i, ErrNotAlike)
		}
		p.lives = append(p.lives, l)
		p.lanes = append(p.lanes, s)
	}
	var err error
	p.train, p.update, err = joinPrograms(p.lanes)
	return p, err
}

// joinPrograms joins the training programs of learners that were built alike;
// update is nil where theirs is.
func joinPrograms(lanes []*supervised) (train, update *graph.Joint, err error) {
	join := func(program func(*supervised) *graph.Program) (*graph.Joint, error) {
		programs := make([]*graph.Program, len(lanes))
		for i, l := range lanes {
			if programs[i] = program(l); programs[i] == nil {
				return nil, nil
			}
		}
		joint, err := graph.Join(programs)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotAlike, err)
		}
		return joint, nil
	}
	if train, err = join(func(l *supervised) *graph.Program { return l.train }); err != nil {
		return nil, nil, err
	}
	update, err = join(func(l *supervised) *graph.Program { return l.update })
	return train, update, err
}

// Lives returns the runs, to be saved, loaded and looked at. They advance
// together, with [Pack.Advance] only, from the same step.
func (p *Pack) Lives() []*Life { return p.lives }

// Advance lives on until the given step, as [Life.Advance] does for one; sinks
// is parallel to Lives. A run that fails stops at its step and the others go
// on; errs says by life why it stopped, with nil for those that reached the
// step. When ctx ends, all stop after the same whole step.
func (p *Pack) Advance(ctx context.Context, until int64, sinks []Sink) (errs []error) {
	step := p.lives[0].step
	for i, l := range p.lives {
		if l.step != step && p.failed[i] == nil {
			p.failed[i] = fmt.Errorf("a pack starts from one step: this run is at %d, the first at %d", l.step, step)
		}
		if until > l.spec.Steps() && p.failed[i] == nil {
			p.failed[i] = fmt.Errorf("advance to step %d: the run has %d steps", until, l.spec.Steps())
		}
		l.rec.start(l.step)
	}
	done := ctx.Done()
	for ; step < until && p.alive(); step++ {
		select {
		case <-done:
			return p.stop(sinks, ctx.Err())
		default:
		}
		p.one(step, sinks)
	}
	return p.stop(sinks, nil)
}

func (p *Pack) alive() bool {
	for _, err := range p.failed {
		if err == nil {
			return true
		}
	}
	return false
}

// one makes one step of every life that has not failed.
func (p *Pack) one(step int64, sinks []Sink) {
	for i, l := range p.lives {
		if p.failed[i] == nil {
			p.failed[i] = l.begin()
		}
		if p.failed[i] == nil {
			p.failed[i] = p.lanes[i].begin(&l.now)
			p.lanes[i].in.fill(l.batch)
		}
	}
	p.train.Run(uint64(step))
	for i, s := range p.lanes {
		if p.failed[i] == nil {
			p.failed[i] = s.observe()
		}
		if p.failed[i] == nil && p.update != nil {
			p.failed[i] = s.editGradients()
		}
	}
	if p.update != nil {
		p.update.Run(uint64(step))
	}
	for i, l := range p.lives {
		if p.failed[i] == nil {
			p.failed[i] = p.lanes[i].end()
		}
		if p.failed[i] == nil {
			p.failed[i] = l.end(sinks[i])
		}
		if p.failed[i] == nil && l.step-l.rec.rows.First >= chunk {
			p.failed[i] = l.rec.flush(l.step, sinks[i])
		}
	}
}

// stop hands over the rows that are not yet with the sinks.
func (p *Pack) stop(sinks []Sink, reason error) []error {
	errs := make([]error, len(p.lives))
	for i, l := range p.lives {
		if errs[i] = p.failed[i]; errs[i] == nil {
			if errs[i] = l.rec.flush(l.step, sinks[i]); errs[i] == nil {
				errs[i] = reason
			}
		}
	}
	return errs
}
