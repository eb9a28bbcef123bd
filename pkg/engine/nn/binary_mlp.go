package nn

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

func init() {
	Register(component.Info{
		Name:    "binary-mlp",
		Paper:   "Li, Huang, Zou & Huang 2023, Statistical mechanics of continual learning: variational principle and mean-field potential; sign: Courbariaux et al. 2016, Binarized Neural Networks",
		Summary: "fully connected layers whose weights are +1 or -1, trained by their fields",
	}, binaryMLPConfig{
		Hidden: []int{200}, Activation: activation.Named("relu"), Weights: "stochastic", Evaluation: "mean", Deviation: 0.1,
	}, nil, newBinaryMLP)
}

type binaryMLPConfig struct {
	Hidden     []int                 `json:"hidden" doc:"units of each hidden layer, input side first"`
	Activation activation.Activation `json:"activation" doc:"nonlinearity of the hidden layers"`
	Weights    string                `json:"weights" doc:"in training: stochastic draws pre-activations from the distribution that the fields give weights; sign takes the signs of the fields, whose gradient passes straight through" enum:"stochastic|sign"`
	Evaluation string                `json:"evaluation" doc:"weights in evaluations of stochastic ones: their mean tanh θ, or the likelier of +1 and -1" enum:"mean|sign"`
	Norm       bool                  `json:"norm" doc:"pre-activations of hidden layers are normalised over the layer, with a scale and a shift per unit"`
	Deviation  float64               `json:"deviation" doc:"standard deviation of the fields at the start"`
}

func (c binaryMLPConfig) Validate() error {
	errs := []error{checkLayers("hidden", len(c.Hidden))}
	for i, n := range c.Hidden {
		errs = append(errs, checkWidth(indexed("hidden", i), n))
	}
	if c.Activation.Outputs() != 1 {
		errs = append(errs, component.Fieldf("activation", "%s gives a unit two outputs; take one that gives one", c.Activation.Name()))
	}
	if !(c.Deviation > 0 && c.Deviation < 1e3) {
		errs = append(errs, component.Fieldf("deviation", "must be above 0, is %v", c.Deviation))
	}
	return errors.Join(errs...)
}

// Size implements [Sizer].
func (c binaryMLPConfig) Size(input tensor.Shape, outputs, _ int) (Size, error) {
	n, err := c.make(dryMaker(input, outputs, NamedInit("zeros")))
	return n.size, err
}

// binaryMLP has weights ξ = ±1 with P(ξ) ∝ exp(ξθ): mean m = tanh θ, variance
// 1 − m². The fields θ are what is trained. A pre-activation of N inputs x,
//
//	z = Σ ξ_i x_i / √N,
//
// is near Gaussian, and drawn as such, once per example and unit:
//
//	z = µ + σ·ε,   µ = Σ m_i x_i / √N,   σ² = Σ (1 − m_i²) x_i² / N,   ε ~ N(0, 1)
//
// so that the gradient reaches θ by mean and variance. There are no biases.
type binaryMLP struct {
	*maker
	cfg    binaryMLPConfig
	layers []binaryLayer
}

type binaryLayer struct {
	name   string
	fields *Param // [in][out]
	norm   *norm
}

// Binary is implemented by networks of binary weights.
type Binary interface {
	// Fields returns the parameters that are fields of binary weights.
	Fields() []*Param
}

func newBinaryMLP(c binaryMLPConfig, env Env) (Network, error) {
	m, err := NamedInit("zeros").maker(env)
	if err != nil {
		return nil, err
	}
	return c.make(m)
}

func (c binaryMLPConfig) make(m *maker) (*binaryMLP, error) {
	n := &binaryMLP{maker: m, cfg: c}
	in := m.env.Input.Elems()
	for i, l := range append(hiddenLayers(c.Hidden, Layer{}), Layer{Name: "output", Width: m.env.Outputs}) {
		layer := binaryLayer{name: l.Name}
		layer.fields = m.param(l.Name, l.Name+"/field", Weight, in, l.Width,
			start{Distribution: Distribution{Normal: float32(c.Deviation)}}, torchName{}, in, l.Width)
		if c.Norm && i < len(c.Hidden) {
			var err error
			if layer.norm, err = m.norm(l.Name, l.Name, normLayer, l.Width, 1, torchName{}); err != nil {
				return n, err
			}
		}
		m.values(l.Width)
		n.layers = append(n.layers, layer)
		in = l.Width
	}
	return n, nil
}

// Fields implements [Binary].
func (n *binaryMLP) Fields() []*Param {
	var fields []*Param
	for _, l := range n.layers {
		fields = append(fields, l.fields)
	}
	return fields
}

// Forward implements [Network].
func (n *binaryMLP) Forward(b *graph.Builder, x graph.Node, mode Mode) Activations {
	for i, l := range n.layers {
		x = n.apply(b, x, l, mode)
		if i < len(n.layers)-1 {
			x = n.cfg.Activation.Apply(b, l.norm.apply(b, x, mode))
		}
	}
	return Activations{Output: x}
}

func (n *binaryMLP) apply(b *graph.Builder, x graph.Node, l binaryLayer, mode Mode) graph.Node {
	theta := b.Read(l.fields.Var)
	in := float64(l.fields.FanIn)
	scale := float32(1 / math.Sqrt(in))
	signs := b.Sub(b.Scale(2, b.GreaterEqual(theta, b.Const(0))), b.Const(1))
	if n.cfg.Weights == "sign" {
		return b.Scale(scale, b.MatMul(x, b.StraightThrough(signs, theta)))
	}
	mean := b.Tanh(theta)
	if mode != Training {
		if n.cfg.Evaluation == "sign" {
			mean = b.StraightThrough(signs, mean)
		}
		return b.Scale(scale, b.MatMul(x, mean))
	}
	variance := b.MatMul(b.Square(x), b.Sub(b.Const(1), b.Square(mean)))
	deviation := b.Sqrt(b.Add(b.Scale(float32(1/in), variance), b.Const(1e-10)))
	noise := b.Normal(n.env.Keys("weights/"+l.name), x.Shape()[0], l.fields.Var.Shape[1])
	return b.Add(b.Scale(scale, b.MatMul(x, mean)), b.Mul(deviation, noise))
}
