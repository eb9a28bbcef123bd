// Package activation has the nonlinearities that networks put behind their
// layers. Each is one entry in the file of its family: its formula, derivative,
// source, parameters, and the formula once more as a graph expression, so that
// it is vectorised and can be differentiated any number of times.
//
// Names and formulas follow Kunc & Kléma 2024, "Three Decades of Activations: A
// Comprehensive Survey of 400 Activation Functions for Neural Networks"
// (arXiv:2402.09092), where a function is in it.
package activation

import (
	"fmt"
	"math"
	"sync"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Activation is an activation function with its parameters. In a spec it is a
// name, or an object where parameters differ from their defaults:
//
//	activation: relu
//	activation: {kind: elephant, a: 0.1, d: 4}
//
// The zero Activation is none; use [Named] for one in code.
type Activation struct{ resolved *resolved }

type resolved = component.Resolved[struct{}, function]

// function is an entry with the values of its parameters.
type function struct {
	*entry
	p component.Numbers
}

// Named returns the activation of that name with its default parameters. It
// panics if there is none.
func Named(name string) Activation {
	r, err := registry.Resolve("activation", map[string]any{"kind": name})
	if err != nil {
		panic(err)
	}
	return Activation{r}
}

// With returns the activation with some parameters set.
func With(name string, parameters map[string]float64) (Activation, error) {
	raw := map[string]any{"kind": name}
	for k, v := range parameters {
		raw[k] = v
	}
	r, err := registry.Resolve("activation", raw)
	return Activation{r}, err
}

// Names returns the names of all activations, sorted.
func Names() []string { return registry.Names() }

// UnmarshalJSON implements [json.Unmarshaler].
func (a *Activation) UnmarshalJSON(b []byte) (err error) {
	a.resolved, err = registry.ResolveJSON(b)
	return err
}

// MarshalJSON implements [json.Marshaler].
func (a Activation) MarshalJSON() ([]byte, error) { return a.resolved.CanonicalJSON() }

// JSONSchema implements [component.Schemer].
func (Activation) JSONSchema() map[string]any { return registry.NestedSchema() }

// Name returns the activation's name.
func (a Activation) Name() string { return a.resolved.Name }

func (a Activation) function() function {
	f, err := a.resolved.Build(struct{}{})
	if err != nil {
		panic(err) // building one cannot fail
	}
	return f
}

// Apply traces the activation of x, whose first axis is examples and whose last
// is units. The result has x's shape, but for [Activation.Outputs] times the
// units: the first outputs of all units, then the second ones.
func (a Activation) Apply(b *graph.Builder, x graph.Node) graph.Node {
	f := a.function()
	return f.of(form{b}, x, f.p)
}

// Outputs returns how many outputs one unit has: 2 for those that concatenate
// two functions of it, else 1.
func (a Activation) Outputs() int { return max(1, a.function().outputs) }

// Gain returns the factor by which the weights in front of the activation must
// be larger than 1/√fan_in for its outputs to have mean square 1. Where PyTorch
// has a value (torch.nn.init.calculate_gain), it is that; else it is
// 1/√E[f(z)²] for standard normal z, to four digits.
func (a Activation) Gain() float64 {
	f := a.function()
	if f.gain != nil {
		return f.gain(f.p)
	}
	key := fmt.Sprint(f.name, f.p)
	if g, ok := gains.Load(key); ok {
		return g.(float64)
	}
	g := meanSquareGain(a)
	gains.Store(key, g)
	return g
}

var gains sync.Map // by name and parameters

// meanSquareGain evaluates the activation on a grid, weighted by the normal
// density, with the engine's own arithmetic, so that it is the same everywhere.
func meanSquareGain(a Activation) float64 {
	const n, width = 2049, 16.0
	b := graph.NewBuilder()
	x := b.Input("x", n, 1)
	b.Output("f", a.Apply(b, x))
	b.Output("density", b.Exp(b.Scale(-0.5, b.Square(x))))
	p := b.Compile()
	in := p.Input("x")
	for i := range in {
		in[i] = float32(width * (float64(float64(i)/(n-1)) - 0.5))
	}
	p.Run(0)
	f, density := p.Output("f"), p.Output("density")
	var sum, total float64
	for i, d := range density {
		for _, v := range f[i*len(f)/n : (i+1)*len(f)/n] {
			sum += float64(float64(d) * float64(float64(v)*float64(v)))
			total += float64(d)
		}
	}
	if sum == 0 {
		return 1
	}
	return math.Round(1e4*math.Sqrt(total/sum)) / 1e4
}

// entry is an activation as its family's file has it.
type entry struct {
	name       string
	title      string // what people call it
	formula    string
	derivative string
	source     string
	params     []component.Number
	outputs    int // per unit; 0 stands for 1
	// rows says that an output depends on the example's other units.
	rows bool
	gain func(component.Numbers) float64
	of   func(f form, x graph.Node, p component.Numbers) graph.Node
}

var registry = component.NewRegistry[struct{}, function]("activation")

func add(entries ...entry) {
	for i := range entries {
		e := &entries[i]
		component.AddNumbers(registry, component.Info{
			Name: e.name, Paper: e.source, Summary: e.title, Formula: e.formula, Derivative: e.derivative,
		}, e.params, func(p component.Numbers, _ struct{}) (function, error) { return function{e, p}, nil })
	}
}

// param is a number with its default and range.
func param(name, doc string, def, lo, hi float64) component.Number {
	return component.Number{Name: name, Doc: doc, Default: def, Min: lo, Max: hi}
}

func gain(g float64) func(component.Numbers) float64 {
	return func(component.Numbers) float64 { return g }
}
