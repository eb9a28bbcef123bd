package nn

import (
	"fmt"
	"math"
	"slices"

	"neoteny/pkg/engine/rng"
)

// Distribution is what a parameter's elements are drawn from. The zero
// Distribution is the constant 0.
type Distribution struct {
	Uniform float32 // half width of a uniform distribution around 0
	Normal  float32 // standard deviation of a normal distribution around 0
}

// Fill draws every element of dst; element i of the draw numbered a depends on
// the key, a and i only.
func (d Distribution) Fill(dst []float32, key rng.Key, a uint64) {
	switch {
	case d.Uniform != 0:
		key.FillUniform(dst, -d.Uniform, d.Uniform, a)
	case d.Normal != 0:
		key.FillNormal(dst, a)
		for i := range dst {
			dst[i] *= d.Normal
		}
	default:
		clear(dst)
	}
}

// StdDev returns the standard deviation.
func (d Distribution) StdDev() float32 {
	if d.Uniform != 0 {
		return float32(float64(d.Uniform) / math.Sqrt(3))
	}
	return d.Normal
}

// Inits are the names of the initialisers.
//
//	kaiming-uniform  weights U(±gain·√(3/fan_in)), biases 0 (He et al. 2015, eq. 10)
//	kaiming-normal   weights N(0, gain²/fan_in), biases 0
//	xavier-uniform   weights U(±gain·√(6/(fan_in+fan_out))), biases 0 (Glorot & Bengio 2010, eq. 16)
//	xavier-normal    weights N(0, gain²·2/(fan_in+fan_out)), biases 0
//	lecun-uniform    weights U(±√(3/fan_in)), biases 0
//	lecun-normal     weights N(0, 1/fan_in), biases 0
//	pytorch          weights and biases U(±1/√fan_in), PyTorch's default for nn.Linear
//
// gain is that of the activation behind the layer: √2 for relu, √(2/(1+slope²))
// for leaky-relu, 5/3 for tanh, 1 for sigmoid, linear and the output layer.
var Inits = []string{"kaiming-uniform", "kaiming-normal", "xavier-uniform", "xavier-normal", "lecun-uniform", "lecun-normal", "pytorch"}

// initialise returns the distributions of a layer's weights and biases.
func initialise(name string, gain float64, fanIn, fanOut int) (weight, bias Distribution, err error) {
	in, out := float64(fanIn), float64(fanOut)
	switch name {
	case "kaiming-uniform":
		weight.Uniform = float32(gain * math.Sqrt(3/in))
	case "kaiming-normal":
		weight.Normal = float32(gain / math.Sqrt(in))
	case "xavier-uniform":
		weight.Uniform = float32(gain * math.Sqrt(6/(in+out)))
	case "xavier-normal":
		weight.Normal = float32(gain * math.Sqrt(2/(in+out)))
	case "lecun-uniform":
		weight.Uniform = float32(math.Sqrt(3 / in))
	case "lecun-normal":
		weight.Normal = float32(1 / math.Sqrt(in))
	case "pytorch":
		weight.Uniform = float32(1 / math.Sqrt(in))
		bias = weight
	default:
		return weight, bias, fmt.Errorf("unknown initialiser %q (one of %v)", name, slices.Sorted(slices.Values(Inits)))
	}
	return weight, bias, nil
}
