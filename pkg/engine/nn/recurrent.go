package nn

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

func init() {
	def := recurrentConfig{
		Hidden: []int{32}, Readout: "last",
		Init: NamedInit("xavier-uniform"), RecurrentInit: NamedInit("orthogonal"), Weights: noWeights(),
	}
	info := func(name, paper, summary string) component.Info {
		return component.Info{
			Name: name, Paper: paper, Provides: []component.Capability{component.Units},
			Summary: summary + "; an example's first axis is time",
		}
	}
	Register(info("rnn", "Elman 1990, Finding Structure in Time", "recurrent network h = a(W·x + U·h + b)"),
		rnnConfig{recurrentConfig: def, Activation: activation.Named("tanh")}, nil,
		func(c rnnConfig, env Env) (Network, error) { return c.build(c.cell(), env) })
	Register(info("lstm", "Hochreiter & Schmidhuber 1997; with forget gates Gers, Schmidhuber & Cummins 2000", "long short-term memory"),
		lstmConfig{recurrentConfig: def, ForgetBias: 1}, nil,
		func(c lstmConfig, env Env) (Network, error) { return c.build(c.cell(), env) })
	Register(info("gru", "Cho et al. 2014; in the form of torch.nn.GRU", "gated recurrent units"),
		gruConfig{def}, nil,
		func(c gruConfig, env Env) (Network, error) { return c.build(c.cell(), env) })
}

// recurrentConfig is what the recurrent networks share.
type recurrentConfig struct {
	Hidden        []int       `json:"hidden" doc:"units of each recurrent layer, input side first; each reads the sequence of the one before"`
	Readout       string      `json:"readout" doc:"what the output layer reads of the last recurrent layer: its values after the last step, or their mean over steps" enum:"last|mean"`
	Init          Init        `json:"init" doc:"initialiser of the weights behind the input and in front of the output: its name, or an object with its parameters"`
	RecurrentInit Init        `json:"recurrent_init" doc:"initialiser of the weights from one step to the next, with gain 1 if it has a gain"`
	Weights       WeightsFile `json:"weights" doc:"a safetensors file to start from, in the place of the initialiser's draws; path \"\" is none"`
}

type rnnConfig struct {
	recurrentConfig
	Activation activation.Activation `json:"activation" doc:"nonlinearity a: its name, or an object with its parameters; not one with two outputs per unit"`
}

type lstmConfig struct {
	recurrentConfig
	ForgetBias float64 `json:"forget_bias" doc:"what the biases of the forget gates start from (Jozefowicz, Zaremba & Sutskever 2015: 1)"`
}

type gruConfig struct{ recurrentConfig }

func (c recurrentConfig) Validate() error {
	errs := []error{checkLayers("hidden", len(c.Hidden)), c.Weights.Validate()}
	if len(c.Hidden) == 0 {
		errs = append(errs, component.Fieldf("hidden", "has no layer"))
	}
	for i, n := range c.Hidden {
		errs = append(errs, checkWidth(indexed("hidden", i), n))
	}
	return errors.Join(errs...)
}

func (c rnnConfig) Validate() error {
	return errors.Join(c.recurrentConfig.Validate(), oneOutput(c.Activation))
}

func (c lstmConfig) Validate() error {
	if !(c.ForgetBias >= -100 && c.ForgetBias <= 100) {
		return errors.Join(c.recurrentConfig.Validate(), component.Fieldf("forget_bias", "must be between -100 and 100, is %v", c.ForgetBias))
	}
	return c.recurrentConfig.Validate()
}

// cell is one step of a recurrent layer. Its weights have a column for every
// gate and unit, gate by gate.
type cell struct {
	gates  int
	carry  int  // arrays that go from step to step, the unit's values first
	biases int  // 2 where the recurrent part has biases of its own
	forget bool // the second gate is one that forgets
	bias   float32
	// step returns the next carry from gates of the input x [n][gates·h] (its
	// bias is in them), of the recurrent part r, likewise, and the carry.
	step func(b *graph.Builder, h int, x, r graph.Node, carry []graph.Node) []graph.Node
}

// cell: h = a(x + r).
func (c rnnConfig) cell() cell {
	return cell{gates: 1, carry: 1, biases: 1, step: func(b *graph.Builder, _ int, x, r graph.Node, _ []graph.Node) []graph.Node {
		return []graph.Node{c.Activation.Apply(b, b.Add(x, r))}
	}}
}

// cell, with gates i, f, g, o:
//
//	c = σ(f)·c + σ(i)·tanh(g)
//	h = σ(o)·tanh(c)
func (c lstmConfig) cell() cell {
	return cell{gates: 4, carry: 2, biases: 1, forget: true, bias: float32(c.ForgetBias), step: func(b *graph.Builder, h int, x, r graph.Node, carry []graph.Node) []graph.Node {
		z := b.Add(x, r)
		gate := func(k int) graph.Node { return b.Slice(z, k*h, (k+1)*h) }
		state := b.Add(b.Mul(b.Sigmoid(gate(1)), carry[1]), b.Mul(b.Sigmoid(gate(0)), b.Tanh(gate(2))))
		return []graph.Node{b.Mul(b.Sigmoid(gate(3)), b.Tanh(state)), state}
	}}
}

// cell, with gates r, z, n:
//
//	n = tanh(n_x + σ(r)·n_h)
//	h = (1 − σ(z))·n + σ(z)·h
func (c gruConfig) cell() cell {
	return cell{gates: 3, carry: 1, biases: 2, step: func(b *graph.Builder, h int, x, r graph.Node, carry []graph.Node) []graph.Node {
		of := func(n graph.Node, k int) graph.Node { return b.Slice(n, k*h, (k+1)*h) }
		reset, keep := b.Sigmoid(b.Add(of(x, 0), of(r, 0))), b.Sigmoid(b.Add(of(x, 1), of(r, 1)))
		fresh := b.Tanh(b.Add(of(x, 2), b.Mul(reset, of(r, 2))))
		return []graph.Node{b.Add(fresh, b.Mul(keep, b.Sub(carry[0], fresh)))}
	}}
}

// Size implements [Sizer].
func (c rnnConfig) Size(input tensor.Shape, outputs, _ int) (Size, error) {
	return c.size(c.cell(), input, outputs)
}

// Size implements [Sizer].
func (c lstmConfig) Size(input tensor.Shape, outputs, _ int) (Size, error) {
	return c.size(c.cell(), input, outputs)
}

// Size implements [Sizer].
func (c gruConfig) Size(input tensor.Shape, outputs, _ int) (Size, error) {
	return c.size(c.cell(), input, outputs)
}

func (c recurrentConfig) size(cell cell, input tensor.Shape, outputs int) (Size, error) {
	m := dryMaker(input, outputs, c.Init)
	_, err := m.recurrent(c, cell)
	return m.size, err
}

func (c recurrentConfig) build(cell cell, env Env) (Network, error) {
	m, err := c.Init.maker(env)
	if err != nil {
		return nil, err
	}
	r, err := m.recurrent(c, cell)
	if err != nil {
		return nil, err
	}
	return r, r.load(c.Weights)
}

// recurrent is layers of a cell over the steps of an example, and an output
// layer. The carry starts at 0 with every example: nothing goes from one
// example to the next.
type recurrent struct {
	*maker
	cfg             recurrentConfig
	cell            cell
	layers          []recurrentLayer
	output          *dense
	steps, features int
}

type recurrentLayer struct {
	units    int
	in, back *dense
}

// maxSteps bounds sequences.
const maxSteps = 1 << 16

func (m *maker) recurrent(c recurrentConfig, cell cell) (*recurrent, error) {
	r := &recurrent{maker: m, cfg: c, cell: cell}
	r.steps, r.features = sequence(m.env.Input)
	if r.steps > maxSteps {
		return nil, component.Fieldf("", "an example has %d steps, at most %d are allowed", r.steps, maxSteps)
	}
	from := r.features
	var before *Units
	for i, h := range c.Hidden {
		layer := fmt.Sprintf("recurrent%d", i+1)
		torch := func(what string) torchName {
			return torchName{key: "recurrent", module: -1, suffix: fmt.Sprintf("%s_l%d", what, i)}
		}
		l := recurrentLayer{units: h}
		columns := cell.gates * h
		l.in = m.dense(denseSpec{layer: layer, in: from, out: columns, gain: 1, bias: true, torch: torch("weight_ih")})
		l.back = m.dense(denseSpec{layer: layer, name: layer + "/recurrent", in: h, out: columns, gain: 1, bias: cell.biases == 2, torch: torch("weight_hh"), init: &c.RecurrentInit})
		l.in.b.torch = torch("bias_ih")
		if cell.biases == 2 {
			l.back.b.torch = torch("bias_hh")
		} else {
			l.in.b.torch.plus = torch("bias_hh").suffix
		}
		if cell.forget && !m.dry {
			for k := range h {
				l.in.b.Var.F32[h+k] += cell.bias
			}
		}
		if before != nil {
			l.in.reads(before)
		}
		// A unit has a column in every gate.
		across := func(p *Param, axis int) Slice {
			s := Slice{Param: p, Axis: axis, Each: 1}
			if cell.gates > 1 {
				s.Repeat, s.Every = cell.gates, h
			}
			return s
		}
		u := &Units{
			Layer: layer, N: h, Places: r.steps, Outputs: 1,
			In: []Slice{across(l.in.w, 1), across(l.back.w, 1)}, Bias: []Slice{across(l.in.b, 0)},
		}
		if l.back.b != nil {
			u.Bias = append(u.Bias, across(l.back.b, 0))
		}
		l.back.reads(u)
		if l.back.b == nil {
			u.OutBias[0] = l.in.b // it is added to the same gates
		}
		m.units = append(m.units, u)
		before = u
		m.values(r.steps, columns)
		m.values(r.steps, h*(cell.carry+cell.gates))
		r.layers = append(r.layers, l)
		from = h
	}
	r.output = m.dense(denseSpec{layer: "output", in: from, out: m.env.Outputs, gain: 1, bias: true, torch: torchName{key: "output", module: -1}})
	r.output.reads(before)
	m.values(m.env.Outputs)
	return r, nil
}

// Forward implements [Network].
func (r *recurrent) Forward(b *graph.Builder, x graph.Node, _ Mode) Activations {
	var a Activations
	n := x.Shape()[0]
	x = b.Reshape(x, n*r.steps, r.features)
	for _, l := range r.layers {
		h := l.units
		gates := b.Reshape(l.in.apply(b, x), n, r.steps, r.cell.gates*h)
		carry := make([]graph.Node, r.cell.carry)
		for i := range carry {
			carry[i] = b.Fill(0, tensor.Shape{n, h})
		}
		_, out := b.Scan(graph.Loop{
			Steps: r.steps, Carry: carry, Each: []graph.Node{b.Permute(gates, 1, 0, 2)},
			Body: func(b *graph.Builder, carry, each, _ []graph.Node) (next, out []graph.Node) {
				next = r.cell.step(b, h, each[0], l.back.apply(b, carry[0]), carry)
				return next, next[:1]
			},
		})
		x = b.Reshape(b.Permute(out[0], 1, 0, 2), n*r.steps, h)
		a.Features = append(a.Features, x)
	}
	h := r.layers[len(r.layers)-1].units
	x = b.Reshape(x, n, r.steps, h)
	if r.cfg.Readout == "mean" {
		x = b.MeanAxes(x, 1)
	} else {
		x = b.SliceAxis(x, 1, r.steps-1, r.steps)
	}
	a.Output = r.output.apply(b, b.Reshape(x, n, h))
	return a
}
