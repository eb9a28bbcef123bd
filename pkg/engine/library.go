package engine

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// NewLearner builds a learner without a life about it, for programs that bring
// their own batches and their own loop:
//
//	l, err := engine.NewLearner(map[string]any{
//		"network":   map[string]any{"kind": "mlp", "hidden": []any{100.0}},
//		"optimizer": map[string]any{"kind": "sgd", "lr": 0.01},
//	}, stream.Info{Input: tensor.Shape{28, 28}, Classes: 10, Batch: 32}, seed)
//
// raw is the learner of a spec; mistakes come back as from [Resolve], under
// the same paths (learner.optimizer.lr). info says what the batches are like:
// Input, Batch, and either Classes or, for regression, Outputs must be set.
// With Classes, Outputs may be left out; StepsPerTask, which some methods
// schedule by, may be left out where tasks have no fixed length.
//
// Every call of Step takes a batch of info.Batch examples; Step.Index must be
// the number of steps before it, which random draws are a function of. The
// same spec, seed and batches give the same bits as in a [Life]. A learner is
// for one goroutine.
func NewLearner(raw map[string]any, info stream.Info, seed uint32) (learner.Learner, error) {
	s, err := callersSpec(raw, info)
	if err != nil {
		return nil, err
	}
	l, _, err := newLearner(s, Env{Seed: seed}, graph.NewStore(), nil)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Lanes is several learners of one spec in lockstep, which [NewLanes] makes.
type Lanes struct {
	lanes         []*supervised
	train, update *graph.Joint
}

// NewLanes builds a learner per seed, as [NewLearner] does for one, that step
// together: an operation is done for all at once where that gives each the
// bits that it has alone. For small networks that is several times faster. It
// returns an error that is [ErrNotAlike] where they cannot step together.
func NewLanes(raw map[string]any, info stream.Info, seeds []uint32) (*Lanes, error) {
	s, err := callersSpec(raw, info)
	if err != nil {
		return nil, err
	}
	if s.kind != nil {
		return nil, fmt.Errorf("%w: a learner of the kind %s steps in a way of its own", ErrNotAlike, s.kind.Name)
	}
	if len(seeds) == 0 {
		return nil, errors.New("lanes: no seeds")
	}
	l := &Lanes{}
	for i, store := range graph.NewLanes(len(seeds)) {
		one, _, err := newSupervised(s, Env{Seed: seeds[i]}, store, nil)
		if err != nil {
			return nil, err
		}
		if one.around {
			return nil, fmt.Errorf("%w: a method runs steps of its own", ErrNotAlike)
		}
		l.lanes = append(l.lanes, one)
	}
	l.train, l.update, err = joinPrograms(l.lanes)
	return l, err
}

// Learners returns the learners, in the order of their seeds. Evaluate them,
// look at their state, tell them that a task ends; they step together only.
func (l *Lanes) Learners() []learner.Learner {
	all := make([]learner.Learner, len(l.lanes))
	for i, one := range l.lanes {
		all[i] = one
	}
	return all
}

// Step makes one update of every learner, each on the batch of its own step;
// all have the same Index. An error, the first learner's that has one, leaves
// the others in the middle of a step.
func (l *Lanes) Step(steps []learner.Step) error {
	for i, one := range l.lanes {
		if err := one.begin(&steps[i]); err != nil {
			return fmt.Errorf("lane %d: %w", i, err)
		}
		one.in.fill(steps[i].Batch)
	}
	index := uint64(steps[0].Index)
	l.train.Run(index)
	for i, one := range l.lanes {
		err := one.observe()
		if err == nil && l.update != nil {
			err = one.editGradients()
		}
		if err != nil {
			return fmt.Errorf("lane %d: %w", i, err)
		}
	}
	if l.update != nil {
		l.update.Run(index)
	}
	for i, one := range l.lanes {
		if err := one.end(); err != nil {
			return fmt.Errorf("lane %d: %w", i, err)
		}
	}
	return nil
}

// callersSpec resolves a learner whose batches are the caller's.
func callersSpec(raw map[string]any, info stream.Info) (*Spec, error) {
	if err := kernel.Err(); err != nil {
		return nil, err
	}
	info, err := checkCaller(info)
	if err != nil {
		return nil, component.At("info", err)
	}
	s := &Spec{info: info, stream: &stream.Resolved{Info: component.Info{Name: "of the caller"}, Config: callers{info}}}
	var errs []error
	note := func(err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		return err == nil
	}
	s.resolveLearner(raw, note)
	if len(errs) == 0 {
		note(s.checkNeeds())
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// checkCaller fills in what may be left out of a caller's info.
func checkCaller(info stream.Info) (stream.Info, error) {
	if info.Classes > 0 && info.Outputs == 0 {
		info.Outputs = info.Classes
	}
	if info.StepsPerTask == 0 {
		info.StepsPerTask = stream.MaxSteps
	}
	info.Tasks = max(info.Tasks, 1)
	switch {
	case len(info.Input) == 0:
		return info, component.Fieldf("Input", "missing: give the shape of one example")
	case info.Classes < 0:
		return info, component.Fieldf("Classes", "must not be negative, is %d", info.Classes)
	case info.Classes > 0 && info.Outputs != info.Classes:
		return info, component.Fieldf("Outputs", "must be 0 or the %d classes, is %d", info.Classes, info.Outputs)
	case info.Outputs < 1:
		return info, component.Fieldf("Outputs", "must be at least 1, is %d (or give Classes)", info.Outputs)
	case info.StepsPerTask < 0:
		return info, component.Fieldf("StepsPerTask", "must not be negative, is %d", info.StepsPerTask)
	case info.Batch < 1:
		return info, component.Fieldf("Batch", "must be at least 1, is %d", info.Batch)
	}
	if err := append(tensor.Shape{info.Batch}, info.Input...).Check(); err != nil {
		return info, component.Fieldf("Input", "a batch of %d: %v", info.Batch, err)
	}
	if err := (tensor.Shape{info.Batch, info.Outputs}).Check(); err != nil {
		return info, component.Fieldf("Outputs", "a batch of %d: %v", info.Batch, err)
	}
	return info, nil
}

// callers is the configuration of the stream that a caller of [NewLearner] is.
type callers struct{ info stream.Info }

func (c callers) Validate() error { return nil }

// Info implements [stream.Config].
func (c callers) Info() (stream.Info, error) { return c.info, nil }
