// Package nn has networks: what they are made of, how their parameters start,
// and which of their parts are units.
//
// Weights are stored input-major, [in][out]: the forward pass of one example
// adds up rows, and an input that is zero costs nothing.
package nn

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// Role says what a parameter does in its layer.
type Role string

// Roles of parameters.
const (
	Weight Role = "weight"
	Bias   Role = "bias"
)

// Param is a trained array with what methods need to know of it.
type Param struct {
	Var    *graph.Var
	Layer  string // "hidden1", …, "output"
	Role   Role
	FanIn  int // inputs of one unit of its layer
	FanOut int
	Init   Distribution // what its elements are drawn from at the start
}

// Units is a group of hidden units: one layer's.
type Units struct {
	Layer string
	N     int
	In    []Slice // incoming weights, unit by unit
	Bias  []Slice // biases, unit by unit; empty without
	Out   []Slice // outgoing weights, unit by unit
	// OutBias are the biases of the layer that reads these units, parallel to
	// Out; nil where there is none. Continual backprop's bias compensation
	// writes to it.
	OutBias []*Param
}

// Slice says which elements of a parameter belong to a unit: along Axis the
// indices [Start + unit·Each, Start + (unit+1)·Each), along the others all.
type Slice struct {
	Param *Param
	Axis  int
	Start int
	Each  int
}

// Span returns, for a unit, the elements of the slice as count runs of length
// elements, first at offset and stride apart.
func (s Slice) Span(unit int) (offset, length, stride, count int) {
	shape := s.Param.Var.Shape
	inner := shape[s.Axis+1:].Elems()
	count = shape[:s.Axis].Elems()
	return (s.Start + unit*s.Each) * inner, s.Each * inner, shape[s.Axis] * inner, count
}

// Len returns how many elements each unit has.
func (s Slice) Len() int {
	_, length, _, count := s.Span(0)
	return length * count
}

// Network is a function with parameters. Forward may be traced into any number
// of programs.
type Network interface {
	// Params returns the parameters in a fixed order.
	Params() []*Param
	// Units returns the groups of hidden units, input side first.
	Units() []*Units
	// Forward traces the network for a batch [n][inputs].
	Forward(b *graph.Builder, x graph.Node) Activations
}

// Activations are the values of a forward pass.
type Activations struct {
	Output   graph.Node   // [n][outputs]: logits or predictions
	Features []graph.Node // [n][units] after the activation, parallel to Units
}

// Env is what a network is built in.
type Env struct {
	Store   *graph.Store
	Key     rng.Key      // draws the initial parameters
	Input   tensor.Shape // of one example
	Outputs int
	// Edit, if set, changes the blueprint before parameters are made (the
	// Build hook of methods).
	Edit func(*Blueprint) error
}

var registry = component.NewRegistry[Env, Network]("network")

// Register adds a network component; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Network, error)) {
	component.Add(registry, info, def, presets, build)
}

// Resolved is a network of a spec, ready to build.
type Resolved = component.Resolved[Env, Network]

// Resolve decodes the network object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }
