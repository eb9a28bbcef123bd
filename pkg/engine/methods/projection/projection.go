// Package projection has methods that leave of a gradient only what does not change
// the answers to earlier inputs.
package projection

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// affine is a dense layer: a map of its inputs, and of a constant 1 if it has
// biases.
type affine struct {
	weight, bias int // among the network's parameters; bias −1 without
	in, out      int // in counts the constant
	w            *nn.Param
}

// affines returns the dense layers of a network, and what computes their inputs
// on n examples. Networks of other layers are refused.
func affines(env method.Env, n int) ([]affine, *layerInputs, error) {
	b := graph.NewBuilder()
	x := b.Input("x", n, env.Inputs)
	net := env.Network.Forward(b, x, nn.Evaluation)
	params := env.Network.Params()
	var layers []affine
	for i, p := range params {
		if p.Role != nn.Weight {
			continue
		}
		l := affine{weight: i, bias: -1, in: p.Var.Shape[0], out: p.Var.Shape[1], w: p}
		read := graph.Node{}
		if i == 0 && l.in == env.Inputs {
			read = x
		}
		for k, u := range env.Network.Units() {
			for _, s := range u.Out {
				if s.Param == p && u.Places == 1 && l.in == u.N*u.Outputs {
					read = b.Reshape(net.Features[k], n, l.in)
				}
			}
		}
		if !read.Valid() {
			return nil, nil, component.Fieldf("", "goes with networks of dense layers one behind the other only; the %s of layer %s is another", p.Role, p.Layer)
		}
		if i+1 < len(params) && params[i+1].Role == nn.Bias && params[i+1].Layer == p.Layer {
			l.bias = i + 1
			l.in++
			read = b.Concat(read, b.Fill(1, tensor.Shape{n, 1}))
		}
		b.Output(fmt.Sprintf("input/%d", len(layers)), read)
		layers = append(layers, l)
	}
	return layers, &layerInputs{b.Compile()}, nil
}

// gradient copies a layer's gradient to dst, [in][out], or back from it.
func (l affine) gradient(dst []float32, gradients [][]float32, back bool) {
	split := l.w.Var.Len()
	if back {
		copy(gradients[l.weight], dst)
	} else {
		copy(dst, gradients[l.weight])
	}
	switch {
	case l.bias < 0:
	case back:
		copy(gradients[l.bias], dst[split:])
	default:
		copy(dst[split:], gradients[l.bias])
	}
}

// layerInputs computes what the dense layers of a network are given.
type layerInputs struct{ program *graph.Program }

// of runs the network on a batch. Input k [n][in] is valid until the next call.
func (l *layerInputs) of(b *stream.Batch) (input func(k int) []float32) {
	copy(l.program.Input("x"), b.X)
	if task := l.program.Labels("task"); task != nil {
		task[0] = int32(b.Task)
	}
	l.program.Run(0)
	return func(k int) []float32 { return l.program.Output(fmt.Sprintf("input/%d", k)) }
}
