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
	def := resnetConfig{
		Blocks: []int{1, 1, 1}, Width: 16,
		Activation: activation.Named("relu"), Norm: normBatch, Groups: 2, Init: NamedInit("kaiming-normal"), Weights: noWeights(),
	}
	published := func(change func(*resnetConfig)) resnetConfig {
		c := def
		change(&c)
		return c
	}
	Register(component.Info{
		Name:     "resnet",
		Paper:    "He et al. 2016, Deep Residual Learning for Image Recognition, in its form for small images",
		Summary:  "residual network of basic blocks, its first convolution 3×3 and without a pool",
		Needs:    []component.Capability{component.Images},
		Provides: []component.Capability{component.Units},
	}, def, map[string]resnetConfig{
		// He et al. 2016, §4.2: 6n + 2 layers for CIFAR-10.
		"resnet-20": published(func(c *resnetConfig) { c.Blocks = []int{3, 3, 3} }),
		"resnet-56": published(func(c *resnetConfig) { c.Blocks = []int{9, 9, 9} }),
		// Dohare et al. 2024, incremental CIFAR-100.
		"resnet-18": published(func(c *resnetConfig) { c.Blocks, c.Width = []int{2, 2, 2, 2}, 64 }),
		// Lopez-Paz & Ranzato 2017 (GEM), and experience replay after them: a
		// third of the channels.
		"reduced-resnet-18": published(func(c *resnetConfig) { c.Blocks, c.Width = []int{2, 2, 2, 2}, 20 }),
	}, newResNet)
}

type resnetConfig struct {
	Blocks     []int                 `json:"blocks" doc:"blocks of each stage; stages behind the first begin with a stride of 2 and have twice the channels"`
	Width      int                   `json:"width" doc:"channels of the first stage"`
	Activation activation.Activation `json:"activation" doc:"nonlinearity: its name, or an object with its parameters; not one with two outputs per unit"`
	Norm       string                `json:"norm" doc:"normalisation behind each convolution: batch (of a channel over examples and places), layer (of an example), group (of an example, over the channels of a group)" enum:"none|layer|batch|group"`
	Groups     int                   `json:"groups" doc:"how many groups of channels norm: group makes"`
	Init       Init                  `json:"init" doc:"initialiser of weights and biases: its name, or an object with its parameters (neoteny components init)"`
	Weights    WeightsFile           `json:"weights" doc:"a safetensors file to start from, in the place of the initialiser's draws; path \"\" is none"`
}

func (c resnetConfig) Validate() error {
	errs := []error{checkWidth("width", c.Width), checkBetween("groups", c.Groups, 1, maxWidth), c.Weights.Validate(), oneOutput(c.Activation)}
	if len(c.Blocks) < 1 || len(c.Blocks) > 8 {
		errs = append(errs, component.Fieldf("blocks", "must have between 1 and 8 stages, has %d", len(c.Blocks)))
	}
	for i, n := range c.Blocks {
		errs = append(errs, checkBetween(indexed("blocks", i), n, 1, maxLayers))
	}
	if c.Norm == normGroup && c.Groups > 0 && c.Width%c.Groups != 0 {
		errs = append(errs, component.Fieldf("groups", "%d channels are not in %d equal groups", c.Width, c.Groups))
	}
	return errors.Join(errs...)
}

// oneOutput refuses activations with two outputs per unit.
func oneOutput(a activation.Activation) error {
	if a.Outputs() != 1 {
		return component.Fieldf("activation", "%s gives two outputs per unit, for which this network has no place; mlp and cnn have", a.Name())
	}
	return nil
}

// ReadsImages implements [Imager].
func (resnetConfig) ReadsImages() {}

// Size implements [Sizer].
func (c resnetConfig) Size(input tensor.Shape, outputs, batch int) (Size, error) {
	if err := batchNormNeeds(c.Norm, batch); err != nil {
		return Size{}, err
	}
	m := dryMaker(input, outputs, c.Init)
	_, err := m.resnet(c)
	return m.size, err
}

// resnet is
//
//	x = a(norm(conv3×3(x)))                                     stem
//	x = a(x′ + norm(conv3×3(a(norm(conv3×3(x))))))              each block
//	output = dense(mean over places of x)
//
// where x′ is x, or norm(conv1×1(x)) where a stage begins with another size.
//
// Its units are the channels inside of blocks: they have incoming and outgoing
// weights of their own. The channels of x are coordinates of a stream that many
// convolutions write to and read from; they are no units.
type resnet struct {
	*maker
	cfg    resnetConfig
	stem   normedConv
	blocks []resBlock
	output *dense
	input  tensor.Shape
}

type normedConv struct {
	d      *dense
	norm   *norm
	window graph.Window
}

type resBlock struct {
	first, second normedConv
	shortcut      *normedConv
}

func (l *normedConv) apply(b *graph.Builder, x graph.Node, mode Mode) graph.Node {
	return l.norm.apply(b, l.d.convolve(b, x, l.window), mode)
}

func (m *maker) resnet(c resnetConfig) (*resnet, error) {
	m.init = c.Init
	h, w, channels, err := image(m.env.Input)
	if err != nil {
		return nil, err
	}
	r := &resnet{maker: m, cfg: c, input: tensor.Shape{h, w, channels}}
	gain := c.Activation.Gain()
	// conv makes a convolution of an image [h w from], and returns its size.
	conv := func(layer, name string, from, to, kernel, stride int) (normedConv, error) {
		l := normedConv{window: graph.SquareWindow(kernel, stride, kernel/2)}
		if to > maxWidth {
			return l, component.Fieldf("width", "layer %s has %d channels, at most %d are allowed", layer, to, maxWidth)
		}
		l.d = m.dense(denseSpec{
			layer: layer, name: name, in: from, out: to, window: l.window.Size, gain: gain, bias: c.Norm == normNone,
			torch: torchName{key: name, module: -1},
		})
		n, err := m.norm(layer, name, c.Norm, to, c.Groups, torchName{key: name + "/norm", module: -1})
		l.norm = n
		m.values((h-1)/stride+1, (w-1)/stride+1, to)
		return l, err
	}
	if r.stem, err = conv("stem", "stem", channels, c.Width, 3, 1); err != nil {
		return nil, err
	}
	from := c.Width
	for stage, n := range c.Blocks {
		to := c.Width << stage
		for block := range n {
			layer := fmt.Sprintf("stage%d/block%d", stage+1, block+1)
			stride := 1
			if stage > 0 && block == 0 {
				stride = 2
			}
			var bl resBlock
			if bl.first, err = conv(layer, layer+"/conv1", from, to, 3, stride); err != nil {
				return nil, err
			}
			oh, ow := (h-1)/stride+1, (w-1)/stride+1
			if stride != 1 || from != to {
				s, err := conv(layer, layer+"/shortcut", from, to, 1, stride)
				if err != nil {
					return nil, err
				}
				bl.shortcut = &s
			}
			h, w = oh, ow
			if bl.second, err = conv(layer, layer+"/conv2", to, to, 3, 1); err != nil {
				return nil, err
			}
			u := m.newUnits(layer, to, h*w, c.Activation, bl.first.d, bl.first.norm)
			bl.second.d.reads(u)
			r.blocks = append(r.blocks, bl)
			from = to
		}
	}
	r.output = m.dense(denseSpec{layer: "output", in: from, out: m.env.Outputs, gain: 1, bias: true, torch: torchName{key: "output", module: -1}})
	m.values(m.env.Outputs)
	return r, nil
}

// Forward implements [Network].
func (r *resnet) Forward(b *graph.Builder, x graph.Node, mode Mode) Activations {
	var a Activations
	act := func(x graph.Node) graph.Node { return r.cfg.Activation.Apply(b, x) }
	x = r.env.images(b, x, r.input)
	x = act(r.stem.apply(b, x, mode))
	for i := range r.blocks {
		bl := &r.blocks[i]
		h := act(bl.first.apply(b, x, mode))
		a.Features = append(a.Features, rows(b, h, r.units[i]))
		if bl.shortcut != nil {
			x = bl.shortcut.apply(b, x, mode)
		}
		x = act(b.Add(x, bl.second.apply(b, h, mode)))
	}
	s := x.Shape()
	x = b.Reshape(b.MeanAxes(x, 1, 2), s[0], s[3])
	a.Output = r.output.apply(b, x)
	return a
}

func newResNet(c resnetConfig, env Env) (Network, error) {
	m, err := c.Init.maker(env)
	if err != nil {
		return nil, err
	}
	r, err := m.resnet(c)
	if err != nil {
		return nil, err
	}
	return r, r.load(c.Weights)
}
