// Package probetest has what tests of probes measure: small networks, learners of
// which only the answers are known, and what PyTorch and NumPy say of them.
package probetest

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// Object is a spec as it is read.
type Object = map[string]any

// Network is an MLP with the given widths, inputs first and outputs last.
func Network(t testing.TB, widths ...int) nn.Network {
	t.Helper()
	hidden := []any{}
	for _, w := range widths[1 : len(widths)-1] {
		hidden = append(hidden, float64(w))
	}
	r, err := nn.Resolve("network", Object{"kind": "mlp", "hidden": hidden})
	require.NoError(t, err)
	net, err := r.Build(nn.Env{
		Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"),
		Input: tensor.Shape{widths[0]}, Outputs: widths[len(widths)-1],
	})
	require.NoError(t, err)
	return net
}

// Build builds a probe of a network.
func Build(t testing.TB, net nn.Network, raw Object) probe.Probe {
	t.Helper()
	r, _, err := probe.Resolve("probes[0]", raw)
	require.NoError(t, err)
	p, err := r.Build(probe.Env{Network: net, Classes: 10, Batch: 1, Space: graph.NewStore().Space(graph.OfProbe, "probe/0")})
	require.NoError(t, err)
	return p
}

// Measure returns what a probe measures.
func Measure(t testing.TB, p probe.Probe, e *learner.Evaluation) []float32 {
	t.Helper()
	values := make([]float32, len(p.Columns()))
	require.NoError(t, p.(probe.Measurer).Measure(e, values))
	return values
}

// MeasureInto measures without allocating.
func MeasureInto(p probe.Probe, e *learner.Evaluation) {
	if err := p.(probe.Measurer).Measure(e, scratch[:len(p.Columns())]); err != nil {
		panic(err)
	}
}

var scratch [16]float32

// CloseTo holds values against those wanted.
func CloseTo(t *testing.T, want []float64, got []float32, tolerance float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		require.InDelta(t, want[i], float64(got[i]), tolerance, "%s: column %d: %v, want %v", what, i, got, want)
	}
}

// Exam is a learner of which only its accuracy on every task is known.
type Exam struct {
	T          *testing.T
	Task, Done int
	Accuracy   []float64
	Examples   []int // that each task has
	Asked      int   // examples that must be asked for
}

// Now implements [probe.Tasks].
func (e *Exam) Now() int { return e.Task }

// Learned implements [probe.Tasks].
func (e *Exam) Learned() int { return e.Done }

// Evaluate implements [probe.Tasks].
func (e *Exam) Evaluate(task, n int) (*learner.Evaluation, error) {
	require.Equal(e.T, e.Asked, n)
	r := &learner.Evaluation{N: e.Examples[task], Correct: make([]float32, e.Examples[task])}
	for i := range r.Correct {
		if float64(i)+0.5 < e.Accuracy[task]*float64(r.N) {
			r.Correct[i] = 1
		}
	}
	return r, nil
}

// EvaluateTraining implements [probe.Tasks].
func (e *Exam) EvaluateTraining(_, _ int) (*learner.Evaluation, error) { panic("not asked for") }

// Sit returns what a probe measures of it.
func (e *Exam) Sit(p probe.Probe) []float32 {
	values := make([]float32, len(p.Columns()))
	require.NoError(e.T, p.(probe.TaskMeasurer).MeasureTasks(e, values))
	return values
}

// Classifier is a learner of a network with cross-entropy: what a life gives to
// probes.
func Classifier(net nn.Network, inputs, classes int) probe.Env {
	return probe.Env{
		Network: net, Classes: classes, Batch: 1, Space: graph.NewStore().Space(graph.OfProbe, "probe/0"),
		Info: stream.Info{Input: tensor.Shape{inputs}, Classes: classes, Outputs: classes, Examples: 4},
		Key:  func(purpose string) rng.Key { return rng.New(11, purpose) },
		Forward: func(b *graph.Builder, n int) (nn.Activations, graph.Node) {
			a := net.Forward(b, b.Input("x", n, inputs), nn.Evaluation)
			losses := b.CrossEntropy(a.Output, b.Labels("labels", n))
			b.Output("losses", losses)
			for i, f := range a.Features {
				b.Output(fmt.Sprintf("features/%d", i), f)
			}
			return a, losses
		},
		Fill: func(p *graph.Program, b *stream.Batch) {
			copy(p.Input("x"), b.X)
			copy(p.Labels("labels"), b.Labels)
		},
	}
}

// Golden is a small network with examples, and what PyTorch says of it.
type Golden struct {
	X              []float32
	Labels         []int32
	Widths         []int
	Params         [][]float32
	Features       [][]float32
	Hessian        []float64
	MaxEigenvalue  float64 `json:"max_eigenvalue"`
	Trace          float64
	Losses         []float64
	FisherRank     float64 `json:"fisher_rank"`
	NTKRank        float64 `json:"ntk_rank"`
	Saturated      map[string][]float64
	Duplicates     map[string][]float64
	Inactive       map[string][]float64
	Active         []float64
	Approximate    []float64 `json:"approximate_rank"`
	Participation  []float64 `json:"participation_ratio"`
	Other          [][]float32
	CKA            []float64
	Low            []float32
	WeightRank     []float64           `json:"weight_rank"`
	WeightL1       []float64           `json:"weight_l1"`
	WeightL2       []float64           `json:"weight_l2"`
	Net            nn.Network          `json:"-"`
	Env            probe.Env           `json:"-"`
	Evaluation     *learner.Evaluation `json:"-"`
	N              int                 `json:"-"`
	Outputs        int                 `json:"-"`
	ParameterCount int                 `json:"-"`
}

// ReadGolden reads testdata/gradients.json of the folder of probes.
func ReadGolden(t *testing.T, folder string) *Golden {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, "testdata", "gradients.json"))
	require.NoError(t, err)
	g := &Golden{}
	require.NoError(t, json.Unmarshal(raw, g))
	g.Net = Network(t, g.Widths...)
	require.Len(t, g.Net.Params(), len(g.Params))
	for i, p := range g.Net.Params() {
		require.Len(t, g.Params[i], len(p.Var.F32))
		copy(p.Var.F32, g.Params[i])
		g.ParameterCount += len(p.Var.F32)
	}
	g.N, g.Outputs = len(g.Labels), g.Widths[len(g.Widths)-1]
	g.Env = Classifier(g.Net, g.Widths[0], g.Outputs)
	g.Evaluation = &learner.Evaluation{N: g.N, Features: g.Features, Batch: &stream.Batch{N: g.N, X: g.X, Labels: g.Labels}}
	return g
}

// Build builds a probe of the network; all examples are its samples unless raw says
// otherwise, null for a probe without.
func (g *Golden) Build(t testing.TB, raw Object) probe.Probe {
	t.Helper()
	if _, ok := raw["samples"]; !ok {
		raw["samples"] = float64(g.N)
	}
	if raw["samples"] == nil {
		delete(raw, "samples")
	}
	r, _, err := probe.Resolve("probes[0]", raw)
	require.NoError(t, err)
	env := g.Env
	env.Space = graph.NewStore().Space(graph.OfProbe, "probe/0")
	p, err := r.Build(env)
	require.NoError(t, err)
	return p
}

// Backprop returns an example's cross-entropy and its gradient for a ReLU
// network.
func (g *Golden) Backprop(theta [][]float64, example, label int) (float64, [][]float64) {
	layers := len(g.Widths) - 1
	h := [][]float64{nil}
	for _, v := range g.X[example*g.Widths[0] : (example+1)*g.Widths[0]] {
		h[0] = append(h[0], float64(v))
	}
	for l := range layers {
		out := append([]float64{}, theta[2*l+1]...)
		for i, v := range h[l] {
			for j := range out {
				out[j] += v * theta[2*l][i*len(out)+j]
			}
		}
		if l < layers-1 {
			for j := range out {
				out[j] = math.Max(out[j], 0)
			}
		}
		h = append(h, out)
	}
	var z float64
	for _, v := range h[layers] {
		z += math.Exp(v)
	}
	loss := math.Log(z) - h[layers][label]
	d := make([]float64, g.Outputs)
	for j, v := range h[layers] {
		d[j] = math.Exp(v) / z
	}
	d[label]--
	grad := make([][]float64, len(theta))
	for l := layers - 1; l >= 0; l-- {
		grad[2*l+1] = d
		grad[2*l] = make([]float64, len(theta[2*l]))
		back := make([]float64, len(h[l]))
		for i, v := range h[l] {
			for j, e := range d {
				grad[2*l][i*len(d)+j] = v * e
				if v > 0 {
					back[i] += theta[2*l][i*len(d)+j] * e
				}
			}
		}
		d = back
	}
	return loss, grad
}
