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

// Var is a named array of the store. Exactly one of the slices is set, by its
// type. Programs and methods read and write the slice in place; it never moves.
type Var struct {
	Name  string
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
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{byName: map[string]*Var{}, memory: &memory{}} }

// New adds a zeroed variable. A name that is taken, or a shape that does not
// pass [tensor.Shape.Check], panics with an *[Error].
func (s *Store) New(name string, t DType, keep Keep, shape ...int) *Var {
	if _, dup := s.byName[name]; dup {
		panic(errorf("variable %q made twice", name))
	}
	v := &Var{Name: name, Type: t, Keep: keep, Shape: slices.Clone(shape)}
	if err := v.Shape.Check(); err != nil {
		panic(errorf("variable %q: %v", name, err))
	}
	switch n := v.Shape.Elems(); t {
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
	b.memory = s.memory
	return b
}

// Lookup returns the variable of that name, or nil.
func (s *Store) Lookup(name string) *Var { return s.byName[name] }

// Vars returns all variables in the order in which they were made.
func (s *Store) Vars() []*Var { return s.vars }

// Error is a mistake in how a program or store is put together: shapes that do
// not fit, a name used twice. The graph package panics with it; whoever builds
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
