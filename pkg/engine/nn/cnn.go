package nn

import (
	"encoding/json"
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

func init() {
	layer := func(channels, kernel, padding, pool int) convolution {
		return convolution{Channels: channels, Kernel: kernel, Stride: 1, Padding: padding, Pool: pool}
	}
	def := cnnConfig{
		Convolutions: []convolution{layer(16, 5, 0, 2), layer(16, 5, 0, 2)},
		Pooling:      "max", Hidden: []int{100},
		Activation: activation.Named("relu"), ActiveConvolutions: true,
		Norm: normNone, Groups: 2, Init: NamedInit("kaiming-uniform"), Bias: true, Weights: noWeights(),
	}
	published := func(change func(*cnnConfig)) cnnConfig {
		c := def
		change(&c)
		return c
	}
	Register(component.Info{
		Name:    "cnn",
		Summary: "convolutions, each with an activation and a pool, then fully connected layers",
		Needs:   []component.Capability{component.Images},
	}, def, map[string]cnnConfig{
		// Kumar et al. 2024: random-label CIFAR-10 and MNIST.
		"kumar": published(func(c *cnnConfig) {
			c.Hidden, c.Init = []int{100, 100}, NamedInit("pytorch")
		}),
		// Elsayed & Mahmood 2024, label-permuted CIFAR-10: LeNet-5 without
		// activations behind the convolutions, as in their code.
		"upgd-cifar10": published(func(c *cnnConfig) {
			c.Convolutions = []convolution{layer(6, 5, 0, 2), layer(16, 5, 0, 2)}
			c.ActiveConvolutions, c.Hidden, c.Init = false, []int{120, 84}, NamedInit("pytorch")
		}),
		// LeCun et al. 1998, with ReLUs and maxima.
		"lenet-5": published(func(c *cnnConfig) {
			c.Convolutions = []convolution{layer(6, 5, 2, 2), layer(16, 5, 0, 2)}
			c.Hidden = []int{120, 84}
		}),
		// Dohare et al. 2024, continual ImageNet, images of 32×32.
		"continual-imagenet": published(func(c *cnnConfig) {
			c.Convolutions = []convolution{layer(32, 5, 0, 2), layer(64, 3, 0, 2), layer(128, 3, 0, 2)}
			c.Hidden = []int{128, 128}
		}),
	}, newCNN)
}

type cnnConfig struct {
	Convolutions       []convolution         `json:"convolutions" doc:"convolutions, input side first"`
	Pooling            string                `json:"pooling" doc:"what the pools take of a window" enum:"max|mean"`
	Hidden             []int                 `json:"hidden" doc:"units of the fully connected hidden layers behind them"`
	Activation         activation.Activation `json:"activation" doc:"nonlinearity of convolutions and hidden layers: its name, or an object with its parameters (neoteny components activation)"`
	ActiveConvolutions bool                  `json:"active_convolutions" doc:"false leaves the activation behind the convolutions out"`
	Norm               string                `json:"norm" doc:"normalisation before the activation: batch (of a channel over examples and places), layer (of an example over places and channels), group (of an example over places and the channels of a group; the hidden layers in a group of their own)" enum:"none|layer|batch|group"`
	Groups             int                   `json:"groups" doc:"how many groups of channels norm: group makes of each convolution"`
	Dropout            float64               `json:"dropout" doc:"probability of dropping a hidden unit's output while training; not of the convolutions"`
	Init               Init                  `json:"init" doc:"initialiser of weights and biases: its name, or an object with its parameters (neoteny components init)"`
	Bias               bool                  `json:"bias" doc:"layers have biases"`
	Weights            WeightsFile           `json:"weights" doc:"a safetensors file to start from, in the place of the initialiser's draws; path \"\" is none"`
}

// convolution is one layer of a cnn.
type convolution struct {
	Channels int `json:"channels" doc:"units: how many channels come out"`
	Kernel   int `json:"kernel" doc:"rows and columns of the window"`
	Stride   int `json:"stride" doc:"how far the window moves"`
	Padding  int `json:"padding" doc:"zeros around the image"`
	Pool     int `json:"pool" doc:"rows and columns of the pool behind the activation, which moves by as many; 1 is none"`
}

// UnmarshalJSON implements [json.Unmarshaler]: what is left out has defaults.
func (c *convolution) UnmarshalJSON(b []byte) error {
	given := map[string]any{}
	if err := json.Unmarshal(b, &given); err != nil {
		return component.Fieldf("", "must be an object such as {channels: 16, kernel: 5, pool: 2}")
	}
	type plain convolution
	p := plain{Channels: 16, Kernel: 3, Stride: 1, Padding: 0, Pool: 1}
	if err := component.Decode(&p, "a convolution", given); err != nil {
		return err
	}
	*c = convolution(p)
	return nil
}

// maxWindow bounds windows, strides and padding.
const maxWindow = 64

func (c cnnConfig) Validate() error {
	errs := []error{
		checkLayers("convolutions", len(c.Convolutions)), checkLayers("hidden", len(c.Hidden)),
		checkDropout(c.Dropout), checkBetween("groups", c.Groups, 1, maxWidth), c.Weights.Validate(),
	}
	if len(c.Convolutions) == 0 {
		errs = append(errs, component.Fieldf("convolutions", "has none; a network without is an mlp"))
	}
	for i, l := range c.Convolutions {
		errs = append(errs, component.At(indexed("convolutions", i), errors.Join(
			checkWidth("channels", l.Channels), checkBetween("kernel", l.Kernel, 1, maxWindow), checkBetween("stride", l.Stride, 1, maxWindow),
			checkBetween("padding", l.Padding, 0, maxWindow), checkBetween("pool", l.Pool, 1, maxWindow),
		)))
		if c.Norm == normGroup && c.Groups > 0 && l.Channels%c.Groups != 0 {
			errs = append(errs, component.Fieldf("groups", "the %d channels of convolutions[%d] are not in %d equal groups", l.Channels, i, c.Groups))
		}
	}
	for i, n := range c.Hidden {
		errs = append(errs, checkWidth(indexed("hidden", i), n))
	}
	return errors.Join(errs...)
}

// Provides declares that channels are units.
func (c cnnConfig) Provides() []component.Capability { return []component.Capability{component.Units} }

// ReadsImages implements [Imager].
func (cnnConfig) ReadsImages() {}

// Size implements [Sizer].
func (c cnnConfig) Size(input tensor.Shape, outputs, batch int) (Size, error) {
	if err := batchNormNeeds(c.Norm, batch); err != nil {
		return Size{}, err
	}
	return chainSize(c.blueprint(outputs), input, outputs)
}

func (c cnnConfig) blueprint(outputs int) *Blueprint {
	bp := &Blueprint{Init: c.Init, Weights: c.Weights}
	for i, l := range c.Convolutions {
		window := graph.SquareWindow(l.Kernel, l.Stride, l.Padding)
		layer := Layer{
			Name: fmt.Sprintf("conv%d", i+1), Width: l.Channels, Activation: c.Activation, Bias: c.Bias,
			Conv: &window, Norm: c.Norm, Groups: c.Groups, Mean: c.Pooling == "mean",
		}
		if !c.ActiveConvolutions {
			layer.Activation = activation.Named("linear")
		}
		if l.Pool > 1 {
			pool := graph.SquareWindow(l.Pool, l.Pool, 0)
			layer.Pool = &pool
		}
		bp.Layers = append(bp.Layers, layer)
	}
	like := Layer{Activation: c.Activation, Bias: c.Bias, Norm: c.Norm, Groups: 1, Dropout: c.Dropout}
	bp.Layers = append(bp.Layers, hiddenLayers(c.Hidden, like)...)
	bp.Layers = append(bp.Layers, outputLayer(outputs, c.Bias))
	return bp
}

func newCNN(c cnnConfig, env Env) (Network, error) {
	return chainOf(c.blueprint(env.Outputs), env)
}
