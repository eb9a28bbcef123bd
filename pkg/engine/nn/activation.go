package nn

import (
	"fmt"
	"math"

	"neoteny/pkg/engine/graph"
)

// Activation is an element-wise nonlinearity.
type Activation struct {
	Name  string
	Slope float32 // of leaky-relu below 0
}

// Activations are the names of the activations.
var activationNames = []string{"relu", "tanh", "leaky-relu", "sigmoid", "linear"}

func (a Activation) check() error {
	for _, n := range activationNames {
		if a.Name == n {
			return nil
		}
	}
	return fmt.Errorf("unknown activation %q (one of %v)", a.Name, activationNames)
}

// Apply traces the activation.
func (a Activation) Apply(b *graph.Builder, x graph.Node) graph.Node {
	switch a.Name {
	case "relu":
		return b.ReLU(x)
	case "tanh":
		return b.Tanh(x)
	case "leaky-relu":
		return b.LeakyReLU(x, a.Slope)
	case "sigmoid":
		return b.Sigmoid(x)
	}
	return x
}

// Gain returns the factor that keeps the variance of activations through the
// layer (as torch.nn.init.calculate_gain).
func (a Activation) Gain() float64 {
	switch a.Name {
	case "relu":
		return math.Sqrt2
	case "leaky-relu":
		return math.Sqrt(2 / (1 + float64(float64(a.Slope)*float64(a.Slope))))
	case "tanh":
		return 5.0 / 3
	}
	return 1
}
