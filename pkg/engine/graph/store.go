package graph

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/tensor"
)

// DType is the element type of a variable.
type DType uint8

// Element types.
const (
	F32 DType = iota
	F64
	I32
	U8
)

// String returns the type's safetensors name.
func (t DType) String() string { return [...]string{"F32", "F64", "I32", "U8"}[t] }

// Keep says how long a variable's value matters.
type Keep uint8

const (
	// Persistent variables are the state: checkpointed and digested.
	Persistent Keep = iota
	// Derived variables are a function of spec and seed, recomputed when a
	// life is built (initial weights, say); neither checkpointed nor digested.
	Derived
	// Transient variables hold nothing between steps (gradients, say).
	Transient
)

// Owner is the part of a life that keeps a variable. Programs do not look at it;
// code that saves, restarts, copies or publishes variables chooses them by owner,
// never by their names.
type Owner uint8

// Owners.
const (
	Unowned       Owner = iota // of a store that is no life's
	OfNetwork                  // parameters, and statistics of normalisations
	OfOptimizer                // states, and what they start from
	OfMethod                   // what a method remembers, networks of its own included
	OfProbe                    // what a probe remembers
	OfLearner                  // of a kind of learner: replay memories, target networks, counters
	OfEnvironment              // the state of the world
	OfLife                     // what the recorder has gathered
)

// Var is a named array of the store. Exactly one of the slices is set, by its
// type. Programs and methods read and write the slice in place; it never moves.
type Var struct {
	Name  string // unique in the store
	Owner Owner
	Local string // the name that its owner knows it by
	Type  DType
	Keep  Keep
	Shape tensor.Shape

	F32 []float32
	F64 []float64
	I32 []int32
	U8  []uint8
}

// Len returns the number of elements.
func (v *Var) Len() int { return v.Shape.Elems() }

// Store holds a learner's parameters and state by name.
type Store struct {
	vars   []*Var
	byName map[string]*Var
	memory *memory
	listed bool
}

// List makes the programs that are compiled for this store have a [Listing]. It comes
// before the first [Store.Builder].
func (s *Store) List() { s.listed = true }

// NewStore returns an empty store.
func NewStore() *Store { return &Store{byName: map[string]*Var{}, memory: &memory{}} }

// New adds a zeroed variable without an owner. A name that is taken, or a shape
// that does not pass [tensor.Shape.Check], panics with an *[Error].
func (s *Store) New(name string, t DType, keep Keep, shape ...int) *Var {
	return s.add(&Var{Name: name, Local: name, Type: t, Keep: keep, Shape: slices.Clone(shape)})
}

// add gives a variable its memory and its place in the store.
func (s *Store) add(v *Var) *Var {
	name := v.Name
	if _, dup := s.byName[name]; dup {
		panic(errorf("variable %q made twice", name))
	}
	if err := v.Shape.Check(); err != nil {
		panic(errorf("variable %q: %v", name, err))
	}
	switch n := v.Shape.Elems(); v.Type {
	case F32:
		v.F32 = s.memory.alloc(n)
	case F64:
		v.F64 = make([]float64, n)
	case I32:
		v.I32 = make([]int32, n)
	case U8:
		v.U8 = make([]uint8, n)
	}
	s.vars = append(s.vars, v)
	s.byName[name] = v
	return v
}

// Builder returns an empty program under construction whose values lie beside
// those of the other lanes, if the store is of [NewLanes].
func (s *Store) Builder() *Builder {
	b := NewBuilder()
	b.memory, b.listed = s.memory, s.listed
	return b
}

// Lookup returns the variable of that name, or nil.
func (s *Store) Lookup(name string) *Var { return s.byName[name] }

// Vars returns all variables in the order in which they were made.
func (s *Store) Vars() []*Var { return s.vars }

// Of returns the variables of one owner in the order in which they were made.
func (s *Store) Of(o Owner) []*Var {
	var vars []*Var
	for _, v := range s.vars {
		if v.Owner == o {
			vars = append(vars, v)
		}
	}
	return vars
}

// Space makes the variables of one owner in a store, under names of its own. The
// zero Space makes none. Spaces are equal if their variables' names are.
type Space struct {
	store *Store
	owner Owner
	name  string
}

// Space returns the space of an owner; name, which is unique among spaces, stands
// before the names of its variables.
func (s *Store) Space(o Owner, name string) Space { return Space{s, o, name} }

// Store returns the store that the space is in.
func (s Space) Store() *Store { return s.store }

// Name returns the space's name.
func (s Space) Name() string { return s.name }

// Sub returns a space inside of this one, of the same owner.
func (s Space) Sub(name string) Space { return Space{s.store, s.owner, s.name + "/" + name} }

// New adds a zeroed variable, as [Store.New] does.
func (s Space) New(name string, t DType, keep Keep, shape ...int) *Var {
	return s.store.add(&Var{
		Name: s.name + "/" + name, Owner: s.owner, Local: name, Type: t, Keep: keep, Shape: slices.Clone(shape),
	})
}

// State adds a zeroed variable that is part of the state: checkpointed and
// digested.
func (s Space) State(name string, t DType, shape ...int) *Var {
	return s.New(name, t, Persistent, shape...)
}

// Lookup returns the space's variable of that name, or nil.
func (s Space) Lookup(name string) *Var { return s.store.Lookup(s.name + "/" + name) }

// Builder returns an empty program under construction, as [Store.Builder] does.
func (s Space) Builder() *Builder { return s.store.Builder() }

// CopyFrom sets the elements to those of a variable of the same type and shape.
func (v *Var) CopyFrom(from *Var) {
	copy(v.F32, from.F32)
	copy(v.F64, from.F64)
	copy(v.I32, from.I32)
	copy(v.U8, from.U8)
}

// Error is a mistake in how a program or store is put together: shapes that do
// not fit, a name used twice. The graph package panics with it; the builder of
// learners from specs recovers it (see [Catch]).
type Error struct{ msg string }

func (e *Error) Error() string { return "graph: " + e.msg }

func errorf(format string, args ...any) *Error { return &Error{fmt.Sprintf(format, args...)} }

// Catch turns a panic with an *[Error] into *err; for use with defer.
func Catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}
