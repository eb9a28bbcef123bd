// Package engine trains small networks for very many steps, on one core per
// run, with nothing allocated per step.
//
// A [Spec] is resolved from JSON objects through the component registries; a
// [Life] is one run of it: Advance lives on, emitting every metric value and,
// at task boundaries, digests and the row of the task table; Save and Load cut
// it anywhere. Import neoteny/pkg/engine/all for the components that come with
// neoteny.
//
// This package is the face of the engine: spec, run and learner behind it say what
// is done, and in which package a change of it belongs.
package engine

import (
	"fmt"

	"neoteny/pkg/engine/assemble"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	_ "neoteny/pkg/engine/learners" // a learner whose spec names no kind is one of them
	"neoteny/pkg/engine/run"
	"neoteny/pkg/engine/spec"
)

// What a run is made of.
type (
	RawSpec          = spec.Raw
	Spec             = spec.Spec
	DeferredSchedule = spec.DeferredSchedule
	Env              = run.Env
)

// Lives, and what they emit.
type (
	Life      = run.Life
	Pack      = run.Pack
	Deferred  = run.Deferred
	Sink      = run.Sink
	SinkError = run.SinkError
	Rows      = run.Rows
	Series    = run.Series
	Column    = run.Column
	Boundary  = run.Boundary
	Diverged  = learner.Diverged
)

// Limits, versions and names.
const (
	NumericsVersion = run.NumericsVersion
	MaxBytes        = spec.MaxBytes
	MaxDeferred     = spec.MaxDeferred
	Weights         = component.Weights
)

// ErrNotAlike says that runs cannot live in lockstep; see [NewPack].
var ErrNotAlike = learner.ErrNotAlike

// ErrLacks is what the error of a component wraps whose needs the rest of a spec does
// not meet.
var ErrLacks = spec.ErrLacks

// CheckWeights finds a weights file of a spec's network that is not there, is another
// one or does not fit, on this machine.
func CheckWeights(s *Spec) error { return assemble.CheckWeights(s) }

// Resolve decodes and checks a spec. All mistakes are reported together, each
// a [component.FieldError] with the path of the field from the spec's root.
func Resolve(raw RawSpec) (*Spec, error) { return spec.Resolve(raw) }

// New builds a life at step 0. What the spec defers is measured with [NewDeferred].
func New(s *Spec, env Env) (*Life, error) { return run.New(s, env) }

// NewPack builds the lives of the given specs and environments at step 0, side by
// side. It returns an error that is [ErrNotAlike] where they must run one by one.
func NewPack(specs []*Spec, envs []Env) (*Pack, error) { return run.NewPack(specs, envs) }

// Programs returns the compiled programs of a run's steps, for people who tune. It needs
// no datasets.
func Programs(s *Spec, env Env) (programs []learner.Program, err error) {
	defer graph.Catch(&err)
	store := graph.NewStore()
	store.List()
	life, err := assemble.New(s, env, store)
	if err != nil {
		return nil, err
	}
	l, ok := life.Learner.(learner.Lister)
	if !ok {
		return nil, fmt.Errorf("a learner of the kind %s is not made of programs", s.Learner.Name)
	}
	return l.Programs(), nil
}

// NewDeferred builds a deferred measurement of a run, at step 0 or where the
// checkpoint that is loaded was made.
func NewDeferred(s *Spec, env Env) (*Deferred, error) { return run.NewDeferred(s, env) }
