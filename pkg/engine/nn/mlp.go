package nn

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:    "mlp",
		Summary: "fully connected layers; no hidden ones make a linear learner",
	}, mlpConfig{
		Hidden:        []int{100, 100},
		Activation:    "relu",
		NegativeSlope: 0.01,
		Init:          "kaiming-uniform",
		Bias:          true,
	}, nil, newMLP)
}

// maxWidth bounds what a spec may ask for in one layer.
const maxWidth = 1 << 20

type mlpConfig struct {
	Hidden        []int   `json:"hidden" doc:"units of each hidden layer, input side first; [] is a linear learner"`
	Activation    string  `json:"activation" doc:"nonlinearity of the hidden layers" enum:"relu|tanh|leaky-relu|sigmoid|linear"`
	NegativeSlope float64 `json:"negative_slope" doc:"slope of leaky-relu below 0"`
	Init          string  `json:"init" doc:"initialiser of weights and biases" enum:"kaiming-uniform|kaiming-normal|xavier-uniform|xavier-normal|lecun-uniform|lecun-normal|pytorch"`
	Bias          bool    `json:"bias" doc:"layers have biases"`
}

func (c mlpConfig) Validate() error {
	if len(c.Hidden) > 64 {
		return component.Fieldf("hidden", "has %d layers, at most 64 are allowed", len(c.Hidden))
	}
	for i, n := range c.Hidden {
		if n < 1 || n > maxWidth {
			return component.Fieldf(fmt.Sprintf("hidden[%d]", i), "must be between 1 and %d units, is %d", maxWidth, n)
		}
	}
	if c.NegativeSlope < 0 || c.NegativeSlope >= 1 {
		return component.Fieldf("negative_slope", "must be in [0, 1), is %v", c.NegativeSlope)
	}
	return nil
}

// Provides tells the validator that a network with hidden layers has units.
func (c mlpConfig) Provides() []component.Capability {
	if len(c.Hidden) == 0 {
		return nil
	}
	return []component.Capability{component.Units}
}

// ParamCount returns the number of weights and biases, so that a network that
// is too large is refused before anything is allocated.
func (c mlpConfig) ParamCount(inputs, outputs int) int64 {
	var n int64
	in := int64(inputs)
	for _, w := range append(slices.Clone(c.Hidden), outputs) {
		n += (in + 1) * int64(w)
		in = int64(w)
	}
	return n
}

// ActivationCount returns the number of hidden units and outputs, and how many
// the widest layer has.
func (c mlpConfig) ActivationCount(_, outputs int) (all, widest int64) {
	for _, w := range append(slices.Clone(c.Hidden), outputs) {
		all += int64(w)
		widest = max(widest, int64(w))
	}
	return all, widest
}

func newMLP(c mlpConfig, env Env) (Network, error) {
	bp := &Blueprint{Init: c.Init}
	for i, n := range c.Hidden {
		bp.Layers = append(bp.Layers, Layer{
			Name:       fmt.Sprintf("hidden%d", i+1),
			Width:      n,
			Activation: Activation{Name: c.Activation, Slope: float32(c.NegativeSlope)},
			Bias:       c.Bias,
		})
	}
	bp.Layers = append(bp.Layers, Layer{Name: "output", Width: env.Outputs, Activation: Activation{Name: "linear"}, Bias: c.Bias})
	if env.Edit != nil {
		if err := env.Edit(bp); err != nil {
			return nil, err
		}
	}
	return bp.build(env)
}

// Blueprint describes a feed-forward network before its parameters are made.
// The last layer is the output.
type Blueprint struct {
	Init   string
	Layers []Layer
}

// Layer is a dense layer with its activation.
type Layer struct {
	Name       string
	Width      int
	Activation Activation
	Bias       bool
}

type mlp struct {
	layers []denseLayer
	params []*Param
	units  []*Units
}

type denseLayer struct {
	Layer
	w, b *Param
}

func (bp *Blueprint) build(env Env) (Network, error) {
	m := &mlp{}
	fanIn := env.Input.Elems()
	for i, l := range bp.Layers {
		if err := l.Activation.check(); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Name, err)
		}
		fanOut := l.Width
		wd, bd, err := initialise(bp.Init, l.Activation.Gain(), fanIn, fanOut)
		if err != nil {
			return nil, err
		}
		d := denseLayer{Layer: l}
		d.w = &Param{
			Var: env.Store.New("net/"+l.Name+"/weight", graph.F32, graph.Persistent, fanIn, fanOut), Layer: l.Name,
			Role: Weight, FanIn: fanIn, FanOut: fanOut, Init: wd,
		}
		wd.Fill(d.w.Var.F32, env.Key, uint64(2*i))
		m.params = append(m.params, d.w)
		if l.Bias {
			d.b = &Param{
				Var: env.Store.New("net/"+l.Name+"/bias", graph.F32, graph.Persistent, fanOut), Layer: l.Name,
				Role: Bias, FanIn: fanIn, FanOut: fanOut, Init: bd,
			}
			bd.Fill(d.b.Var.F32, env.Key, uint64(2*i+1))
			m.params = append(m.params, d.b)
		}
		m.layers = append(m.layers, d)
		fanIn = fanOut
	}
	for i, d := range m.layers[:len(m.layers)-1] {
		next := m.layers[i+1]
		u := &Units{
			Layer:   d.Name,
			N:       d.Width,
			In:      []Slice{{Param: d.w, Axis: 1, Each: 1}},
			Out:     []Slice{{Param: next.w, Axis: 0, Each: 1}},
			OutBias: []*Param{next.b},
		}
		if d.b != nil {
			u.Bias = []Slice{{Param: d.b, Axis: 0, Each: 1}}
		}
		m.units = append(m.units, u)
	}
	return m, nil
}

func (m *mlp) Params() []*Param { return m.params }
func (m *mlp) Units() []*Units  { return m.units }

func (m *mlp) Forward(b *graph.Builder, x graph.Node) Activations {
	n := x.Shape()[0]
	x = b.Reshape(x, n, x.Shape().Elems()/n)
	var a Activations
	for i, d := range m.layers {
		x = b.MatMul(x, b.Read(d.w.Var))
		if d.b != nil {
			x = b.Add(x, b.Read(d.b.Var))
		}
		x = d.Activation.Apply(b, x)
		if i < len(m.layers)-1 {
			a.Features = append(a.Features, x)
		}
	}
	a.Output = x
	return a
}
