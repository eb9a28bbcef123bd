package nn

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/tensor"
)

type object = map[string]any

// goldens are networks that PyTorch made and ran; testdata/make_goldens.py says
// what is in the files.
var goldens = []struct {
	name    string
	spec    object
	names   object
	input   tensor.Shape
	outputs int
}{
	{name: "mlp", spec: object{"kind": "mlp", "hidden": []any{6.0, 5.0}, "activation": "tanh"}, input: tensor.Shape{4}, outputs: 3},
	{name: "mlp-layer-norm", spec: object{"kind": "mlp", "hidden": []any{6.0}, "norm": "layer"}, input: tensor.Shape{2, 2}, outputs: 3},
	{name: "mlp-batch-norm", spec: object{"kind": "mlp", "hidden": []any{6.0}, "norm": "batch"}, input: tensor.Shape{4}, outputs: 3},
	{name: "cnn", spec: object{"kind": "cnn", "hidden": []any{6.0}, "convolutions": []any{
		object{"channels": 3.0, "pool": 2.0}, object{"channels": 4.0, "padding": 1.0},
	}}, input: tensor.Shape{8, 10, 2}, outputs: 3},
	{name: "cnn-batch-norm", spec: object{
		"kind": "cnn", "hidden": []any{}, "activation": "tanh", "norm": "batch", "pooling": "mean",
		"convolutions": []any{object{"channels": 4.0, "pool": 2.0}},
	}, input: tensor.Shape{8, 8}, outputs: 3},
	{name: "cnn-group-norm", spec: object{
		"kind": "cnn", "hidden": []any{}, "activation": "tanh", "norm": "group", "convolutions": []any{object{"channels": 4.0}},
	}, input: tensor.Shape{5, 5}, outputs: 3},
	{name: "resnet", spec: object{"kind": "resnet", "blocks": []any{1.0, 1.0}, "width": 4.0}, names: object{
		"stem/norm": "norm", "stage1/block1/conv1": "a.conv1", "stage1/block1/conv1/norm": "a.norm1", "stage1/block1/conv2": "a.conv2", "stage1/block1/conv2/norm": "a.norm2",
		"stage2/block1/conv1": "b.conv1", "stage2/block1/conv1/norm": "b.norm1", "stage2/block1/conv2": "b.conv2", "stage2/block1/conv2/norm": "b.norm2",
		"stage2/block1/shortcut": "b.shortcut", "stage2/block1/shortcut/norm": "b.norms", "output": "fc",
	}, input: tensor.Shape{6, 6}, outputs: 3},
	{name: "rnn", spec: object{"kind": "rnn", "hidden": []any{5.0}}, input: tensor.Shape{6, 3}, outputs: 2},
	{name: "lstm", spec: object{"kind": "lstm", "hidden": []any{5.0, 5.0}}, input: tensor.Shape{6, 3}, outputs: 2},
	{name: "gru", spec: object{"kind": "gru", "hidden": []any{5.0}}, input: tensor.Shape{6, 3}, outputs: 2},
	{name: "transformer", spec: object{"kind": "transformer", "width": 8.0, "heads": 2.0, "hidden": []any{12.0}}, names: object{
		"block1/qkv": "layer.self_attn", "block1/out": "layer.self_attn.out_proj", "block1/norm1": "layer.norm1", "block1/norm2": "layer.norm2",
		"block1/hidden": "layer.linear1", "block1/back": "layer.linear2",
	}, input: tensor.Shape{5, 3}, outputs: 2},
}

func goldenFile(t *testing.T, name string) (path, digest string, tensors map[string]safetensors.Tensor) {
	t.Helper()
	path = filepath.Join("testdata", name+".safetensors")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(b)
	f, err := safetensors.Decode(b)
	require.NoError(t, err)
	tensors = map[string]safetensors.Tensor{}
	for _, x := range f.Tensors {
		tensors[x.Name] = x
	}
	return path, hex.EncodeToString(sum[:]), tensors
}

func floats(x safetensors.Tensor) []float32 {
	out := make([]float32, len(x.Data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
	}
	return out
}

// nhwc orders images [n][c][h][w] as the engine has them.
func nhwc(x []float32, shape []int) []float32 {
	if len(shape) != 4 {
		return x
	}
	c, places := shape[1], shape[2]*shape[3]
	out := make([]float32, len(x))
	for i := range x {
		out[i/(c*places)*(c*places)+i%places*c+i/places%c] = x[i]
	}
	return out
}

// Outputs, in both modes, gradients and collected statistics of networks whose
// weights come from PyTorch are PyTorch's.
func TestNetworksAgainstPyTorch(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			path, digest, file := goldenFile(t, g.name)
			names := g.names
			if names == nil {
				names = object{}
			}
			spec := object{"weights": object{"path": path, "sha256": digest, "names": names}}
			for k, v := range g.spec {
				spec[k] = v
			}
			r, err := Resolve("network", spec)
			require.NoError(t, err)
			store := graph.NewStore()
			built, err := r.Build(Env{Space: store.Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: g.input, Outputs: g.outputs})
			require.NoError(t, err)

			x := file["golden.x"]
			n := x.Shape[0]
			run := func(mode Mode) (*graph.Program, []*Param) {
				b := graph.NewBuilder()
				in := b.Input("x", n, g.input.Elems())
				a := built.Forward(b, in, mode)
				b.Output("output", a.Output)
				require.Len(t, a.Features, len(built.Units()))
				for i, u := range built.Units() {
					require.Equal(t, tensor.Shape{n * u.Rows(), u.N}, a.Features[i].Shape(), "features of %s", u.Layer)
				}
				if mode == Evaluation {
					loss := b.Sum(b.Mul(a.Output, b.Input("weight", a.Output.Shape()...)))
					var reads []graph.Node
					for _, p := range built.Params() {
						reads = append(reads, b.Read(p.Var))
					}
					for i, d := range b.Gradients(loss, reads...) {
						b.Output(built.Params()[i].Var.Name, d)
					}
				}
				p := b.Compile()
				copy(p.Input("x"), nhwc(floats(x), x.Shape))
				if mode == Evaluation {
					copy(p.Input("weight"), floats(file["golden.weight"]))
				}
				p.Run(0)
				return p, built.Params()
			}
			p, params := run(Evaluation)
			require.InDeltaSlice(t, floats(file["golden.output"]), p.Output("output"), 3e-6)

			// The gradients, laid out as a file's weights are.
			gradients := map[string]safetensors.Tensor{}
			for name, x := range file {
				if name, ok := strings.CutPrefix(name, "golden.grad."); ok && !strings.Contains(name, "bias_hh") || g.name == "gru" && ok {
					gradients[name] = x
				}
			}
			weights := WeightsFile{Names: map[string]string{}}
			for k, v := range names {
				weights.Names[k] = v.(string)
			}
			for _, param := range params {
				want := make([]float32, param.Var.Len())
				require.NoError(t, weights.set(gradients, "", param.Var.Shape, want, param.torch), param.Var.Name)
				require.InDeltaSlice(t, want, p.Output(param.Var.Name), 2e-5, param.Var.Name)
			}

			p, _ = run(Training)
			require.InDeltaSlice(t, floats(file["golden.training"]), p.Output("output"), 1e-5)
			collected := 0
			for _, s := range statisticsOf(built) {
				want := make([]float32, s.v.Len())
				statistics := map[string]safetensors.Tensor{}
				for name, x := range file {
					if name, ok := strings.CutPrefix(name, "golden."); ok {
						statistics[name] = x
					}
				}
				require.NoError(t, weights.set(statistics, "", s.v.Shape, want, s.torch))
				require.InDeltaSlice(t, want, s.v.F32, 1e-6, s.v.Name)
				collected++
			}
			require.Equal(t, map[string]int{"mlp-batch-norm": 2, "cnn-batch-norm": 2, "resnet": 12}[g.name], collected)
		})
	}
}

func statisticsOf(n Network) []statistic {
	switch n := n.(type) {
	case *chain:
		return n.statistics
	case *resnet:
		return n.statistics
	}
	return nil
}

func TestWeightsFromFilesThatDoNotFit(t *testing.T) {
	path, digest, _ := goldenFile(t, "mlp")
	network := func(change func(spec, weights object)) error {
		weights := object{"path": path, "sha256": digest}
		spec := object{"kind": "mlp", "hidden": []any{6.0, 5.0}, "activation": "tanh"}
		change(spec, weights)
		spec["weights"] = weights
		r, err := Resolve("network", spec)
		require.NoError(t, err)
		_, err = r.Build(Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: tensor.Shape{4}, Outputs: 3})
		return err
	}
	require.NoError(t, network(func(object, object) {}))
	for what, tc := range map[string]struct {
		change func(spec, weights object)
		want   string
	}{
		"no file":      {func(_, w object) { w["path"] = "testdata/nothing" }, "network.weights.path: there is no file testdata/nothing on this machine"},
		"a folder":     {func(_, w object) { w["path"] = "testdata" }, "network.weights.path: testdata is not a regular file"},
		"digest":       {func(_, w object) { w["sha256"] = strings.Repeat("0", 64) }, "network.weights.sha256: testdata/mlp.safetensors has another digest: it is not the file that the spec is about"},
		"shape":        {func(s, _ object) { s["hidden"] = []any{7.0, 5.0} }, "network.weights: weight of layer hidden1: tensor 0.weight has shape [6 4], needed is [7 4]"},
		"names":        {func(_, w object) { w["names"] = object{"hidden2": "fc2"} }, "network.weights.names: the file has no tensor fc2.weight; say which module of PyTorch's it is: names: {hidden2: MODULE}"},
		"another net":  {func(s, _ object) { s["norm"] = "layer" }, "network.weights.names: the file has no tensor hidden1.norm.weight or 1.weight; say which module of PyTorch's it is: names: {hidden1/norm: MODULE}"},
		"skips":        {func(_, w object) { w["skip"] = []any{"outptu"} }, `network.weights.skip: the network has no layer "outptu"`},
		"a safetensor": {func(_, w object) { w["path"], w["sha256"] = garbage(t) }, "network.weights: "},
	} {
		err := network(tc.change)
		require.ErrorContains(t, err, tc.want, what)
	}

	// What is skipped may have another shape.
	require.NoError(t, network(func(s, w object) {
		s["hidden"] = []any{6.0, 9.0}
		w["skip"] = []any{"hidden2", "output"}
	}))
}

func garbage(t *testing.T) (path, digest string) {
	path = filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, []byte("not a file of tensors"), 0o600))
	sum := sha256.Sum256([]byte("not a file of tensors"))
	return path, hex.EncodeToString(sum[:])
}

// write makes a safetensors file of tensors.
func write(t *testing.T, tensors ...safetensors.Tensor) (path, digest string) {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, safetensors.Encode(&buf, &safetensors.File{Tensors: tensors}))
	path = filepath.Join(t.TempDir(), "weights.safetensors")
	require.NoError(t, os.WriteFile(path, buf.Bytes(), 0o600))
	sum := sha256.Sum256(buf.Bytes())
	return path, hex.EncodeToString(sum[:])
}

func TestElementsOfWeightFiles(t *testing.T) {
	f64 := func(v float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)) }
	linear := func(weight, bias safetensors.Tensor) (Network, error) {
		weight.Name, bias.Name, bias.Shape = "fc.weight", "fc.bias", []int{1}
		path, digest := write(t, weight, bias)
		r, err := Resolve("network", object{"kind": "mlp", "hidden": []any{}, "weights": object{"path": path, "sha256": digest, "names": object{"output": "fc"}}})
		require.NoError(t, err)
		return r.Build(Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: tensor.Shape{2}, Outputs: 1})
	}
	double := safetensors.Tensor{DType: "F64", Shape: []int{1, 2}, Data: append(f64(0.25), f64(-3)...)}
	n, err := linear(double, safetensors.Tensor{DType: "F32", Data: []byte{0, 0, 128, 63}})
	require.NoError(t, err)
	require.Equal(t, []float32{0.25, -3}, n.Params()[0].Var.F32)
	require.Equal(t, []float32{1}, n.Params()[1].Var.F32)
	_, err = linear(double, safetensors.Tensor{DType: "F32", Data: []byte{0, 0, 128, 127}})
	require.ErrorContains(t, err, "bias of layer output: tensor fc.bias: element 0 is +Inf")
	_, err = linear(safetensors.Tensor{DType: "F64", Shape: []int{1, 2}, Data: append(f64(0.25), f64(1e300)...)}, safetensors.Tensor{DType: "F32", Data: []byte{0, 0, 128, 63}})
	require.ErrorContains(t, err, "element 1 is +Inf")
	_, err = linear(double, safetensors.Tensor{DType: "I32", Data: []byte{0, 0, 0, 0}})
	require.ErrorContains(t, err, "tensor fc.bias has elements of type I32, needed is F32 or F64")
}

// A checkpoint's names and layout are understood too.
func TestWeightsOfOurOwn(t *testing.T) {
	spec := func() object { return object{"kind": "mlp", "hidden": []any{3.0}, "norm": "batch"} }
	env := func(seed uint64) Env {
		return Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(seed, "init"), Input: tensor.Shape{2}, Outputs: 2}
	}
	r, err := Resolve("network", spec())
	require.NoError(t, err)
	from := env(1)
	_, err = r.Build(from)
	require.NoError(t, err)
	var tensors []safetensors.Tensor
	for i, v := range from.Space.Store().Vars() {
		var data []byte
		for j := range v.F32 {
			v.F32[j] += float32(i)
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v.F32[j]))
		}
		tensors = append(tensors, safetensors.Tensor{Name: v.Name, DType: "F32", Shape: v.Shape, Data: data})
	}
	path, digest := write(t, tensors...)
	s := spec()
	s["weights"] = object{"path": path, "sha256": digest}
	r, err = Resolve("network", s)
	require.NoError(t, err)
	to := env(2)
	_, err = r.Build(to)
	require.NoError(t, err)
	require.Len(t, to.Space.Store().Vars(), len(tensors))
	for i, v := range to.Space.Store().Vars() {
		require.Equal(t, from.Space.Store().Vars()[i].F32, v.F32, v.Name)
	}
}
