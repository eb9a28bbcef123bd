// Package measure has what several kinds of probes need: their columns, features as
// matrices, and programs that end with gradients.
package measure

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
)

// CheckSamples checks how many examples a probe evaluates.
func CheckSamples(n int) error {
	if n < 1 || n > 1<<16 {
		return component.Fieldf("samples", "must be between 1 and %d, is %d", 1<<16, n)
	}
	return nil
}

// UnitColumns are a metric's columns: the whole network, then each group of
// hidden units.
func UnitColumns(metric string, net nn.Network) []probe.Column {
	columns := []probe.Column{{Metric: metric}}
	for _, u := range net.Units() {
		columns = append(columns, probe.Column{Metric: metric, Layer: u.Layer})
	}
	return columns
}

// LayerParams are a network's parameters that pass keep, by layer.
func LayerParams(net nn.Network, keep func(*nn.Param) bool) (layers []string, params [][]*nn.Param) {
	index := map[string]int{}
	for _, w := range net.Params() {
		if !keep(w) {
			continue
		}
		i, known := index[w.Layer]
		if !known {
			i = len(layers)
			index[w.Layer] = i
			layers, params = append(layers, w.Layer), append(params, nil)
		}
		params[i] = append(params[i], w)
	}
	return layers, params
}

// LayerColumns are a metric's columns: the whole network, then layers.
func LayerColumns(metric string, layers []string) []probe.Column {
	columns := []probe.Column{{Metric: metric}}
	for _, l := range layers {
		columns = append(columns, probe.Column{Metric: metric, Layer: l})
	}
	return columns
}

// IsWeight and IsAny say which parameters count.
func IsWeight(p *nn.Param) bool { return p.Role == nn.Weight }

func IsAny(*nn.Param) bool { return true }

// Examples turns a layer's features into a matrix with a row for each example. A
// channel of a convolution, or a unit that a sequence passes through, has its
// mean over places there; a unit with two outputs has two columns.
type Examples struct {
	Units []*nn.Units
	means [][]float32 // [samples][outputs·units] of layers with several places
}

// NewExamples makes room for so many examples.
func NewExamples(env probe.Env, samples int) Examples {
	x := Examples{Units: env.Network.Units()}
	for _, u := range x.Units {
		var means []float32
		if u.Places > 1 {
			means = make([]float32, samples*u.Outputs*u.N)
		}
		x.means = append(x.means, means)
	}
	return x
}

// Matrix returns a layer's features [n][columns].
func (x Examples) Matrix(layer int, h []float32, n int) []float32 {
	means := x.means[layer]
	if means == nil {
		return h
	}
	places := x.Units[layer].Places
	columns := len(h) / n / places
	means = means[:n*columns]
	for i := range n {
		for j := range columns {
			var sum float64
			for place := range places {
				sum += float64(h[(i*places+place)*columns+j])
			}
			means[i*columns+j] = float32(sum / float64(places))
		}
	}
	return means
}

// Centre subtracts from every column of a matrix of n rows its mean.
func Centre(x []float32, n int) {
	columns := len(x) / n
	for j := range columns {
		var sum float64
		for i := range n {
			sum += float64(x[i*columns+j])
		}
		mean := sum / float64(n)
		for i := range n {
			x[i*columns+j] = float32(float64(x[i*columns+j]) - mean)
		}
	}
}

// CompileGradients compiles a program that ends with the gradients of y, and says
// where it leaves them.
func CompileGradients(b *graph.Builder, y graph.Node, of []graph.Node) (*graph.Program, [][]float32) {
	name := func(i int) string { return fmt.Sprintf("gradient/%d", i) }
	for i, g := range b.Gradients(y, of...) {
		b.Output(name(i), g)
	}
	program := b.Compile()
	gradients := make([][]float32, len(of))
	for i := range of {
		gradients[i] = program.Output(name(i))
	}
	return program, gradients
}
