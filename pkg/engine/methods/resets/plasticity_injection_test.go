package resets

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/tensor"
)

func TestPlasticityInjection(t *testing.T) {
	const n = 3
	spec := injectionConfig{Layers: 2, FromTask: 2}
	b := methodtest.New(t, 5, []any{6, 5}, "pytorch")
	plain := map[string][]float32{}
	for _, p := range b.Net.Params() {
		plain[p.Var.Name] = p.Var.F32
	}
	r, err := nn.Resolve("network", map[string]any{"kind": "mlp", "hidden": []any{6, 5}, "init": "pytorch"})
	require.NoError(t, err)
	b.Store = graph.NewStore()
	b.Net, err = r.Build(nn.Env{Space: b.Store.Space(graph.OfNetwork, "net"), Key: b.Key("init"), Input: tensor.Shape{4}, Outputs: 3, Edit: spec.Build})
	require.NoError(t, err)
	for _, p := range b.Net.Params() {
		if w, known := plain[p.Var.Name]; known {
			require.Equal(t, w, p.Var.F32, "the rest of the network is drawn as without: %s", p.Var.Name)
			delete(plain, p.Var.Name)
		} else {
			require.Equal(t, strings.Contains(p.Var.Name, "injected_b"), p.Frozen, p.Var.Name)
		}
	}
	require.Empty(t, plain)
	m := b.Method(map[string]any{"kind": "plasticity-injection", "layers": 2.0, "from_task": 2.0})

	g := graph.NewBuilder()
	y := b.Net.Forward(g, g.Input("x", n, 4), nn.Training).Output
	g.Output("y", y)
	var reads []graph.Node
	for _, p := range b.Net.Params() {
		reads = append(reads, g.Read(p.Var))
	}
	for i, d := range g.Gradients(g.Sum(g.Square(y)), reads...) {
		g.Output(b.Net.Params()[i].Var.Name, d)
	}
	prog := g.Compile()
	b.Key("x").FillUniform(prog.Input("x"), -1, 1, 0)

	layer := func(w map[string][]float64, name string, x []float64, relu bool) []float64 {
		y := append([]float64(nil), w["net/"+name+"/bias"]...)
		for j := range y {
			for i, v := range x {
				y[j] += v * w["net/"+name+"/weight"][i*len(y)+j]
			}
			if relu {
				y[j] = math.Max(y[j], 0)
			}
		}
		return y
	}
	forward := func(w map[string][]float64, x []float32, injected bool) []float64 {
		var in []float64
		for _, v := range x {
			in = append(in, float64(v))
		}
		phi := layer(w, "hidden1", in, true)
		head := func(first, last string) []float64 { return layer(w, last, layer(w, first, phi, true), false) }
		y := head("hidden2", "output")
		if injected {
			const at = "output/adapter1/injected_"
			a, b := head(at+"a/0", at+"a/1"), head(at+"b/0", at+"b/1")
			for j := range y {
				y[j] += a[j] - b[j]
			}
		}
		return y
	}
	check := func(injected bool) {
		prog.Run(0)
		sum := func(w map[string][]float64) float64 {
			s := 0.0
			for i := range n {
				for _, v := range forward(w, prog.Input("x")[4*i:4*i+4], injected) {
					s += v * v
				}
			}
			return s
		}
		for i := range n {
			for j, v := range forward(b.Weights64(), prog.Input("x")[4*i:4*i+4], injected) {
				require.InDelta(t, v, prog.Output("y")[3*i+j], 1e-5)
			}
		}
		for k, d := range b.Differences(sum) {
			name := b.Net.Params()[k].Var.Name
			for i, v := range d {
				require.InDelta(t, v, prog.Output(name)[i], 2e-4, "%s[%d]", name, i)
			}
		}
	}
	step := func(injected bool) {
		for _, p := range b.Net.Params() {
			if p.Frozen {
				continue
			}
			before := methodtest.Clone(p.Var.F32)
			u := b.Update(p, m, map[string]any{"kind": "adamw", "lr": 0.05, "weight_decay": 0.1})
			for i := range u.Input("g") {
				u.Input("g")[i] = float32(1 + i%3)
			}
			u.Run(0)
			trained := p.Layer == "hidden1" || strings.Contains(p.Var.Name, "injected_a") == injected
			require.Equal(t, trained, before[0] != p.Var.F32[0], "%s, injected: %v", p.Var.Name, injected)
		}
	}
	check(false)
	step(false)
	require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: 0}))
	step(false)
	check(false)
	before := methodtest.Clone(prog.Output("y"))
	require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: 1}))
	prog.Run(0)
	require.InDeltaSlice(t, before, prog.Output("y"), 1e-6, "nothing is said otherwise at first")
	check(true)
	step(true)
	check(true)
	require.Greater(t, math.Abs(float64(before[0]-prog.Output("y")[0])), 1e-3)
}

func TestPlasticityInjectionNeedsAPlainHead(t *testing.T) {
	for _, network := range []map[string]any{
		{"kind": "mlp", "hidden": []any{6}, "norm": "layer"},
		{"kind": "mlp", "hidden": []any{6, 5}, "dropout": 0.1},
		{"kind": "mlp", "hidden": []any{}},
	} {
		r, err := nn.Resolve("network", network)
		require.NoError(t, err)
		_, err = r.Build(nn.Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Input: tensor.Shape{4}, Outputs: 3, Edit: injectionConfig{Layers: 2, FromTask: 1}.Build})
		require.ErrorContains(t, err, "layers: ")
	}
}
