package nn

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

// Blueprint describes a chain of layers before its parameters are made. The
// last layer is the output. Networks of another make have no layers here.
type Blueprint struct {
	Init    Init
	Layers  []Layer
	Weights WeightsFile
	Input   []Adapter // of the examples, before the first layer
}

// Layer is a dense layer or a convolution, with what comes behind it: first the
// normalisation, then the activation, then the pool, then dropout.
type Layer struct {
	Name       string
	Width      int // units; channels of a convolution
	Activation activation.Activation
	Bias       bool

	Conv   *graph.Window // of a convolution; nil for a dense layer
	Pool   *graph.Window // nil for none
	Mean   bool          // the pool takes means, not the largest
	Norm   string        // "none", "layer", "batch" or "group"; "" is none
	Groups int           // of group normalisation
	// Dropout is the probability of dropping an output.
	Dropout float64
	// Residual makes the layer a block: what goes in, plus a linear map of the
	// activations back to its width.
	Residual bool
	// Standardize gives the weights of each unit mean 0 and norm 1.
	Standardize bool
	// Frozen layers are not trained; their adapters are.
	Frozen bool
	// Linear adapters are applied to the affine map or convolution, before the
	// normalisation; Adapters to the activations, so that they are part of what
	// counts as the units' values.
	Linear, Adapters []Adapter
}

// chain is a network of layers one behind the other.
type chain struct {
	*maker
	layers []*chainLayer
	input  tensor.Shape // [h][w][c] if the first layer is a convolution
	adapt  []Adapter    // of the input
}

type chainLayer struct {
	Layer
	d    *dense
	norm *norm
	back *dense // of residual blocks
	// in and out are what an example has on the way: images [h][w][c] or [n].
	in, out tensor.Shape
}

// chain builds the network of a blueprint.
func (m *maker) chain(bp *Blueprint) (*chain, error) {
	m.init = bp.Init
	c := &chain{maker: m, input: m.env.Input}
	shape := tensor.Shape{m.env.Input.Elems()}
	if len(bp.Layers) > 0 && bp.Layers[0].Conv != nil {
		h, w, ch, err := image(m.env.Input)
		if err != nil {
			return nil, err
		}
		shape = tensor.Shape{h, w, ch}
	}
	c.input, c.adapt = shape, bp.Input
	if err := m.adapt("input", shape, bp.Input); err != nil {
		return nil, err
	}
	var before *Units
	module := 0 // number in a torch.nn.Sequential of the same layers
	for i, spec := range bp.Layers {
		l := &chainLayer{Layer: spec}
		last := i == len(bp.Layers)-1
		m.frozen = l.Frozen
		if l.Norm == "" {
			l.Norm = normNone
		}
		d := denseSpec{layer: l.Name, out: l.Width, gain: l.Activation.Gain(), bias: l.Bias, standardize: l.Standardize, torch: torchName{key: l.Name, module: module}}
		switch {
		case l.Conv != nil:
			if len(shape) != 3 {
				return nil, fmt.Errorf("layer %s: a convolution behind a dense layer", l.Name)
			}
			places, err := placesOf(l.Name, *l.Conv, shape)
			if err != nil {
				return nil, err
			}
			d.in, d.window = shape[2], l.Conv.Size
			l.in, l.out = shape, tensor.Shape{places[0], places[1], l.Width}
		default:
			d.in = shape.Elems()
			if len(shape) == 3 {
				d.torch.channels = shape[2]
				module++ // nn.Flatten
				d.torch.module = module
			}
			l.in, l.out = tensor.Shape{d.in}, tensor.Shape{l.Width}
		}
		if d.in > tensor.MaxElems/max(d.window[0]*d.window[1], 1) {
			return nil, fmt.Errorf("layer %s: %d inputs are too many", l.Name, d.in)
		}
		l.d = m.dense(d)
		module++
		if before != nil {
			l.d.reads(before)
		}
		var err error
		if l.norm, err = m.norm(l.Name, l.Name, l.Norm, l.Width, l.Groups, torchName{key: l.Name + "/norm", module: module}); err != nil {
			return nil, err
		}
		if l.norm != nil {
			module++
		}
		if l.Activation.Name() != "linear" {
			module++
		}
		m.values(l.out...)
		if !last && (l.Residual || !followedByBlock(bp.Layers, i)) {
			before = m.newUnits(l.Name, l.Width, l.out[:len(l.out)-1].Elems(), l.Activation, l.d, l.norm)
		} else {
			before = nil
		}
		l.out[len(l.out)-1] *= l.Activation.Outputs()
		if l.Activation.Outputs() > 1 {
			m.values(l.out...)
		}
		if l.Residual {
			if len(l.in) != 1 {
				return nil, fmt.Errorf("layer %s: a residual convolution", l.Name)
			}
			l.back = m.dense(denseSpec{layer: l.Name, name: l.Name + "/back", in: l.out[0], out: l.in[0], gain: 1, bias: l.Bias, torch: torchName{key: l.Name + "/back", module: -1}})
			if before != nil {
				l.back.reads(before)
			}
			before = nil
			l.out = l.in
			m.values(l.out...)
		}
		if l.Pool != nil {
			if len(l.out) != 3 {
				return nil, fmt.Errorf("layer %s: a pool behind a dense layer", l.Name)
			}
			places, err := placesOf(l.Name, *l.Pool, l.out)
			if err != nil {
				return nil, err
			}
			l.out = tensor.Shape{places[0], places[1], l.out[2]}
			m.values(l.out...)
			module++
		}
		if l.Dropout > 0 {
			module++
		}
		m.frozen = false
		if err := m.adaptLayer(l); err != nil {
			return nil, err
		}
		shape = l.out
		c.layers = append(c.layers, l)
	}
	return c, nil
}

// adaptLayer makes the adapters of a layer. What they are applied to lies
// before the pool and, for linear ones, before an activation that concatenates.
func (m *maker) adaptLayer(l *chainLayer) error {
	if len(l.Linear)+len(l.Adapters) == 0 {
		return nil
	}
	shape := tensor.Shape{l.Width}
	if l.Conv != nil {
		places, err := placesOf(l.Name, *l.Conv, l.in)
		if err != nil {
			return err
		}
		shape = tensor.Shape{places[0], places[1], l.Width}
	}
	if err := m.adapt(l.Name, shape, l.Linear); err != nil {
		return err
	}
	shape = slices.Clone(shape)
	shape[len(shape)-1] *= l.Activation.Outputs()
	return m.adapt(l.Name, shape, l.Adapters)
}

// followedByBlock reports whether the next layer adds to what this one gives,
// so that its outputs are coordinates of a stream that others write to as well,
// and no units.
func followedByBlock(layers []Layer, i int) bool {
	return i+1 < len(layers) && layers[i+1].Residual
}

// placesOf returns how many places a window takes in an image [h][w][c].
func placesOf(layer string, w graph.Window, shape tensor.Shape) (places [2]int, err error) {
	defer func() {
		if err != nil {
			err = component.Fieldf("", "layer %s does not go with images [%d %d]: %v", layer, shape[0], shape[1], err)
		}
	}()
	defer graph.Catch(&err)
	return w.Of(shape[0], shape[1]), nil
}

// Params implements [Network].
func (m *maker) Params() []*Param { return m.params }

// Units implements [Network].
func (m *maker) Units() []*Units { return m.units }

// Forward implements [Network].
func (c *chain) Forward(b *graph.Builder, x graph.Node, mode Mode) Activations {
	n := x.Shape()[0]
	if len(c.input) == 3 {
		x = c.env.images(b, x, c.input)
	} else {
		x = b.Reshape(x, append([]int{n}, c.input...)...)
	}
	x = applyAdapters(b, x, mode, c.adapt)
	var a Activations
	for _, l := range c.layers {
		in := b.Reshape(x, append([]int{n}, l.in...)...)
		if l.Conv != nil {
			x = l.d.convolve(b, in, *l.Conv)
		} else {
			x = l.d.apply(b, in)
		}
		x = applyAdapters(b, x, mode, l.Linear)
		x = l.Activation.Apply(b, l.norm.apply(b, x, mode))
		x = applyAdapters(b, x, mode, l.Adapters)
		if len(a.Features) < len(c.units) && c.units[len(a.Features)].Layer == l.Name {
			// What follows reads the units' values as Features has them, so that
			// a loss can be differentiated by them.
			f := rows(b, x, c.units[len(a.Features)])
			a.Features, x = append(a.Features, f), b.Reshape(f, x.Shape()...)
		}
		switch {
		case l.Pool != nil && l.Mean:
			x = b.AvgPool2D(x, *l.Pool)
		case l.Pool != nil:
			x = b.MaxPool2D(x, *l.Pool)
		}
		x = c.dropout(b, x, l.Dropout, l.Name, mode)
		if l.back != nil {
			x = b.Add(in, l.back.apply(b, x))
		}
	}
	a.Output = x
	return a
}

// rows returns the values of units [n][...][outputs·units] with a row for every
// example, place and output.
func rows(b *graph.Builder, x graph.Node, u *Units) graph.Node {
	return b.Reshape(x, x.Shape().Elems()/u.N, u.N)
}

// chainOf edits and builds a blueprint.
func chainOf(bp *Blueprint, env Env) (Network, error) {
	if env.Edit != nil {
		if err := env.Edit(bp); err != nil {
			return nil, err
		}
	}
	c, err := newMaker(env, bp.Init).chain(bp)
	if err != nil {
		return nil, err
	}
	return c, c.load(bp.Weights)
}

// chainSize is the [Sizer] of a blueprint.
func chainSize(bp *Blueprint, input tensor.Shape, outputs int) (Size, error) {
	m := dryMaker(input, outputs, bp.Init)
	_, err := m.chain(bp)
	return m.size, err
}
