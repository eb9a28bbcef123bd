package engine

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/assemble"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/run"
	"neoteny/pkg/engine/spec"
	"neoteny/pkg/engine/stream"
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
	all, err := newLearners(raw, info, []uint32{seed}, []*graph.Store{graph.NewStore()})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// newLearners builds a learner per seed in stores of their own.
func newLearners(raw map[string]any, info stream.Info, seeds []uint32, stores []*graph.Store) ([]learner.Learner, error) {
	if err := kernel.Err(); err != nil {
		return nil, err
	}
	s, err := spec.ResolveLearner(raw, info)
	if err != nil {
		return nil, err
	}
	all := make([]learner.Learner, len(seeds))
	for i, store := range stores {
		life, err := assemble.New(s, Env{Seed: seeds[i]}, store)
		if err != nil {
			return nil, err
		}
		all[i] = life.Learner
	}
	return all, nil
}

// Lanes is several learners of one spec in lockstep, which [NewLanes] makes.
type Lanes struct {
	learners []learner.Learner
	lockstep learner.Lockstep

	steps []*learner.Step
	errs  []error
}

// NewLanes builds a learner per seed, as [NewLearner] does for one, that step
// together: an operation is done for all at once where that gives each the
// bits that it has alone. For small networks that is several times faster. It
// returns an error that is [ErrNotAlike] where they cannot step together.
func NewLanes(raw map[string]any, info stream.Info, seeds []uint32) (*Lanes, error) {
	if len(seeds) == 0 {
		return nil, errors.New("lanes: no seeds")
	}
	all, err := newLearners(raw, info, seeds, graph.NewLanes(len(seeds)))
	if err != nil {
		return nil, err
	}
	l := &Lanes{learners: all, steps: make([]*learner.Step, len(all)), errs: make([]error, len(all))}
	l.lockstep, err = run.Join(all)
	return l, err
}

// Learners returns the learners, in the order of their seeds. Evaluate them,
// look at their state, end their tasks; they step together only.
func (l *Lanes) Learners() []learner.Learner { return l.learners }

// Step makes one update of every learner, each on the batch of its own step;
// all have the same Index. An error, the first learner's that has one, leaves
// the others with their update.
func (l *Lanes) Step(steps []learner.Step) error {
	if l.steps[0] != &steps[0] { // as a rule a caller has one slice
		for i := range steps {
			l.steps[i] = &steps[i]
		}
	}
	clear(l.errs)
	l.lockstep.Step(l.steps, l.errs)
	for i, err := range l.errs {
		if err != nil {
			return fmt.Errorf("lane %d: %w", i, err)
		}
	}
	return nil
}
