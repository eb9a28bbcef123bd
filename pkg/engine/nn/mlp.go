package nn

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

func init() {
	def := mlpConfig{
		Hidden:     []int{100, 100},
		Activation: activation.Named("relu"),
		Norm:       normNone,
		Init:       NamedInit("kaiming-uniform"),
		Bias:       true,
		Weights:    noWeights(),
	}
	published := func(change func(*mlpConfig)) mlpConfig {
		c := def
		change(&c)
		return c
	}
	hardASH, err := activation.With("hard-ash", map[string]float64{"alpha": 3, "z": 2.3})
	if err != nil {
		panic(err)
	}
	elephant, err := activation.With("elephant", map[string]float64{"a": 0.16, "d": 4})
	if err != nil {
		panic(err)
	}
	Register(component.Info{
		Name:    "mlp",
		Summary: "fully connected layers; no hidden ones make a linear learner",
	}, def, map[string]mlpConfig{
		// Dohare et al. 2024: online permuted MNIST, and bit flipping.
		"online-permuted-mnist":      published(func(c *mlpConfig) { c.Hidden = []int{2000, 2000, 2000} }),
		"slowly-changing-regression": published(func(c *mlpConfig) { c.Hidden = []int{5} }),
		// Kumar et al. 2024, permuted and random-label MNIST; CReLU with hidden
		// layers 9 % narrower, to the same number of parameters.
		"kumar-mnist": published(func(c *mlpConfig) { c.Init = NamedInit("pytorch") }),
		"kumar-mnist-layer-norm": published(func(c *mlpConfig) {
			c.Init, c.Norm = NamedInit("pytorch"), normLayer
		}),
		"kumar-mnist-crelu": published(func(c *mlpConfig) {
			c.Init, c.Hidden, c.Activation = NamedInit("pytorch"), []int{91, 91}, activation.Named("crelu")
		}),
		// Elsayed & Mahmood 2024, input-permuted MNIST and label-permuted EMNIST.
		"upgd-mnist": published(func(c *mlpConfig) { c.Init, c.Hidden = NamedInit("pytorch"), []int{300, 150} }),
		// Elsayed, Lan, Lyle & Mahmood 2024, weight clipping: the same with leaky ReLU.
		"weight-clipping-mnist": published(func(c *mlpConfig) {
			c.Init, c.Hidden, c.Activation = NamedInit("pytorch"), []int{300, 150}, activation.Named("leaky-relu")
		}),
		// van de Ven's EWC on permuted and on split MNIST.
		"ewc-permuted-mnist": published(func(c *mlpConfig) { c.Init, c.Hidden = NamedInit("pytorch"), []int{1000, 1000} }),
		"ewc-split-mnist":    published(func(c *mlpConfig) { c.Init, c.Hidden = NamedInit("pytorch"), []int{400, 400} }),
		// Lan & Mahmood 2023 (EMLP; a as in Keskinen 2024), and Keskinen 2024
		// on split MNIST.
		"elephant-split-mnist": published(func(c *mlpConfig) {
			c.Init, c.Hidden, c.Activation = NamedInit("pytorch"), []int{1000}, elephant
		}),
		"hard-ash-split-mnist": published(func(c *mlpConfig) {
			c.Init, c.Hidden, c.Activation, c.Bias, c.Standardize = NamedInit("kaiming-normal"), []int{1000}, hardASH, false, true
		}),
	}, newMLP)
}

type mlpConfig struct {
	Hidden      []int                 `json:"hidden" doc:"units of each hidden layer, input side first; [] is a linear learner"`
	Activation  activation.Activation `json:"activation" doc:"nonlinearity of the hidden layers: its name, or an object with its parameters (neoteny components activation)"`
	Norm        string                `json:"norm" doc:"normalisation of the hidden layers before their activation, with a scale and a shift per unit" enum:"none|layer|batch"`
	Residual    bool                  `json:"residual" doc:"the first hidden layer is a linear map to a stream of its width, each further one a block that adds to the stream: x + back(activation(layer(x)))"`
	Dropout     float64               `json:"dropout" doc:"probability of dropping a hidden unit's output while training"`
	Init        Init                  `json:"init" doc:"initialiser of weights and biases: its name, or an object with its parameters (neoteny components init)"`
	Bias        bool                  `json:"bias" doc:"layers have biases"`
	Standardize bool                  `json:"standardize" doc:"the weights of each hidden unit are used with mean 0 and norm 1; with several hidden layers a weight of 0 then is no weight of no effect"`
	Weights     WeightsFile           `json:"weights" doc:"a safetensors file to start from, in the place of the initialiser's draws; path \"\" is none"`
}

func (c mlpConfig) Validate() error {
	errs := []error{checkLayers("hidden", len(c.Hidden)), checkDropout(c.Dropout), c.Weights.Validate()}
	for i, n := range c.Hidden {
		errs = append(errs, checkWidth(indexed("hidden", i), n))
	}
	if c.Residual && len(c.Hidden) < 2 {
		errs = append(errs, component.Fieldf("residual", "needs at least 2 hidden layers: the first is the stream, the others its blocks"))
	}
	return errors.Join(errs...)
}

// Provides declares that a network with hidden layers has units.
func (c mlpConfig) Provides() []component.Capability {
	if len(c.Hidden) == 0 {
		return nil
	}
	return []component.Capability{component.Units}
}

// Size implements [Sizer].
func (c mlpConfig) Size(input tensor.Shape, outputs, batch int) (Size, error) {
	if len(c.Hidden) > 0 {
		if err := batchNormNeeds(c.Norm, batch); err != nil {
			return Size{}, err
		}
	}
	return chainSize(c.blueprint(outputs), input, outputs)
}

func (c mlpConfig) blueprint(outputs int) *Blueprint {
	bp := &Blueprint{Init: c.Init, Weights: c.Weights}
	hidden := c.Hidden
	if c.Residual {
		bp.Layers = append(bp.Layers, Layer{Name: "stream", Width: hidden[0], Activation: activation.Named("linear"), Bias: c.Bias})
		hidden = hidden[1:]
	}
	bp.Layers = append(bp.Layers, hiddenLayers(hidden, Layer{
		Activation: c.Activation, Bias: c.Bias, Norm: c.Norm, Dropout: c.Dropout, Residual: c.Residual, Standardize: c.Standardize,
	})...)
	bp.Layers = append(bp.Layers, outputLayer(outputs, c.Bias))
	return bp
}

// hiddenLayers are dense layers of the given widths, alike otherwise.
func hiddenLayers(widths []int, like Layer) []Layer {
	var layers []Layer
	for i, n := range widths {
		l := like
		l.Name, l.Width = fmt.Sprintf("hidden%d", i+1), n
		layers = append(layers, l)
	}
	return layers
}

func outputLayer(outputs int, bias bool) Layer {
	return Layer{Name: "output", Width: outputs, Activation: activation.Named("linear"), Bias: bias}
}

func newMLP(c mlpConfig, env Env) (Network, error) {
	return chainOf(c.blueprint(env.Outputs), env)
}
