package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
)

// fakeEngine makes lives that count.
type fakeEngine struct {
	mu       sync.Mutex
	made     int
	packs    int
	packErr  error
	loaded   int
	newErr   error
	building func(seed uint32)      // of every life that is made; may panic
	stepErr  func(step int64) error // may panic
	seedErr  func(seed uint32, step int64) error
	compile  error
	compiled []string              // specs
	given    []component.Artifacts // to the lives that were made
}

func (e *fakeEngine) Compile(spec []byte) (program, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.compiled = append(e.compiled, string(spec))
	return e, e.compile
}

func (e *fakeEngine) New(o origin) (life, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	if e.newErr != nil {
		return nil, e.newErr
	}
	if e.building != nil {
		e.building(o.seed)
	}
	e.given = append(e.given, o.artifacts())
	return &fakeLife{e: e, seed: o.seed, state: uint64(o.seed)}, nil
}

// Pack makes lives that advance one after the other, step by step.
func (e *fakeEngine) Pack(_ []program, origins []origin) (pack, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.packErr != nil {
		return nil, e.packErr
	}
	e.packs++
	p := &fakePack{}
	for _, o := range origins {
		if e.building != nil {
			e.building(o.seed)
		}
		e.given = append(e.given, o.artifacts())
		p.lives = append(p.lives, &fakeLife{e: e, seed: o.seed, state: uint64(o.seed)})
	}
	return p, nil
}

type fakePack struct{ lives []*fakeLife }

func (p *fakePack) Lives() (out []life) {
	for _, l := range p.lives {
		out = append(out, l)
	}
	return out
}

func (p *fakePack) Advance(ctx context.Context, until int64, sinks []engine.Sink) []error {
	errs := make([]error, len(p.lives))
	for step := p.lives[0].step; step < until; step++ {
		select {
		case <-ctx.Done():
			for i, err := range errs {
				if err == nil {
					errs[i] = p.lives[i].Advance(ctx, step, sinks[i])
				}
				if errs[i] == nil {
					errs[i] = ctx.Err()
				}
			}
			return errs
		case <-time.After(stepTime):
		}
		for i, l := range p.lives {
			if errs[i] == nil {
				errs[i] = l.one(sinks[i])
			}
		}
	}
	return errs
}

// fakeLife's state after a step is a function of the state before and the step.
type fakeLife struct {
	e     *fakeEngine
	seed  uint32
	step  int64
	state uint64

	values []float32 // not yet with the sink
}

func (l *fakeLife) next() {
	l.state = (l.state ^ uint64(l.step)) * 0x9e3779b97f4a7c15
	l.step++
}

func (l *fakeLife) value() float32 { return float32(l.state >> 48) }

func (l *fakeLife) Step() int64 { return l.step }

func (l *fakeLife) Columns() []engine.Column { return []engine.Column{{Metric: "m"}} }

func (l *fakeLife) Advance(ctx context.Context, until int64, s engine.Sink) error {
	for l.step < until {
		select {
		case <-ctx.Done():
			if err := l.flush(s); err != nil {
				return err
			}
			return ctx.Err()
		case <-time.After(stepTime):
		}
		if err := l.one(s); err != nil {
			return err
		}
	}
	return l.flush(s)
}

func (l *fakeLife) flush(s engine.Sink) error {
	n := int64(len(l.values))
	if n == 0 {
		return nil
	}
	err := s.Rows(engine.Rows{First: l.step - n, N: n, Series: []engine.Series{{Column: engine.Column{Metric: "m"}, Values: l.values}}})
	l.values = l.values[:0]
	if err != nil {
		return &engine.SinkError{Err: err}
	}
	return nil
}

func (l *fakeLife) one(s engine.Sink) error {
	if l.e.stepErr != nil {
		if err := l.e.stepErr(l.step); err != nil {
			return l.settle(err, s)
		}
	}
	if l.e.seedErr != nil {
		if err := l.e.seedErr(l.seed, l.step); err != nil {
			return l.settle(err, s)
		}
	}
	l.next()
	l.values = append(l.values, l.value())
	if l.step%stepsPerTask != 0 {
		return nil
	}
	return l.boundary(s, engine.Boundary{Task: int(l.step/stepsPerTask) - 1})
}

// settle closes the task of a life that has diverged.
func (l *fakeLife) settle(err error, s engine.Sink) error {
	if d, ok := errors.AsType[*engine.Diverged](err); ok {
		d.Step, d.Task = l.step, int(l.step/stepsPerTask)
		if lost := l.boundary(s, engine.Boundary{Task: d.Task, Diverged: d}); lost != nil {
			return lost
		}
	}
	return err
}

func (l *fakeLife) boundary(s engine.Sink, b engine.Boundary) error {
	if err := l.flush(s); err != nil {
		return err
	}
	b.Step, b.Table = l.step, []float64{float64(l.value())}
	binary.LittleEndian.PutUint64(b.State[:], l.state)
	if err := s.Boundary(b); err != nil {
		return &engine.SinkError{Err: err}
	}
	return nil
}

// Artifact says what the life is at this step.
func (l *fakeLife) Artifact(name string) ([]byte, error) {
	if name == "missing" {
		return nil, errors.New("no such artifact")
	}
	return fmt.Appendf(nil, "%s of %d at step %d: %d", name, l.seed, l.step, l.state), nil
}

func (l *fakeLife) Save(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d %d", l.step, l.state)
	return err
}

func (l *fakeLife) Load(b []byte) error {
	l.e.mu.Lock()
	l.e.loaded++
	l.e.mu.Unlock()
	_, err := fmt.Sscanf(string(b), "%d %d", &l.step, &l.state)
	return err
}
