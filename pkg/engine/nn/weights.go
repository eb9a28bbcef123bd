package nn

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/tensor"
)

// WeightsFile is a network's parameter "weights": a safetensors file that it
// starts from. What a method draws afresh later still comes from the
// initialiser.
//
//	weights: {path: /data/base.safetensors, sha256: 6f1e…}
//	weights: {artifact: pretrained, skip: [output]}
//
// The second is an artifact that another run of the experiment has published
// (see [component.Artifacts]), such as its "weights", which have this package's
// names.
//
// The digest of a path is written down, not computed from the file: it is part
// of what identifies a run, and has to be the same wherever the spec is read,
// also where the file is not. A worker that finds no file at the path, or one with
// another digest, refuses the run. The path is the worker's.
//
// # Names
//
// A parameter of this package is found under its own name in a checkpoint of
// neoteny ("net/hidden1/weight", in this package's layout), else under that of
// a PyTorch module in the layout of PyTorch's state dicts:
//
//	layer            parameter   in the file
//	dense            weight      <module>.weight [out][in], bias <module>.bias
//	convolution      weight      <module>.weight [out][in][rows][columns], bias <module>.bias
//	normalisation    gain        <module>.weight, shift <module>.bias,
//	                             and of batches <module>.running_mean, <module>.running_var
//	rnn, lstm, gru               <module>.weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 (nn.RNN, nn.LSTM, nn.GRU)
//	position         embedding   <module>.weight [places][width]
//	qkv                          <module>.in_proj_weight, in_proj_bias (nn.MultiheadAttention), or weight, bias
//
// The module of a layer is what Names says for it; else its own name
// ("hidden1"), if the file has that; else, for mlp and cnn, its number in an
// nn.Sequential of Linear, Conv2d, LayerNorm or BatchNorm, activation, pool,
// Flatten and Dropout, each only where the network has it ("0", "2", "4" of an
// MLP with ReLUs). A normalisation's name is that of its layer with "/norm"
// behind, the way back of a residual block that with "/back", all layers of a
// recurrent network are "recurrent", and those of resnet and transformer are
// called as their parameters (stage1/block1/conv1, block1/qkv, block1/norm1); a
// slash in a name is a dot in the file. Other tensors in the file are left alone.
type WeightsFile struct {
	Path     string            `json:"path" doc:"where the worker finds the file; \"\" for none"`
	SHA256   string            `json:"sha256" doc:"its SHA-256 in hexadecimal digits"`
	Artifact string            `json:"artifact" doc:"in the place of path and sha256: what another run published, by its name in needs; \"\" for none"`
	Names    map[string]string `json:"names" doc:"PyTorch's name of a layer's module, by layer (hidden1: fc1)"`
	Skip     []string          `json:"skip" doc:"layers that start from the initialiser (output, say)"`
	Partial  bool              `json:"partial" doc:"layers that the file lacks, or has in another shape, start from the initialiser"`
}

func noWeights() WeightsFile { return WeightsFile{Names: map[string]string{}, Skip: []string{}} }

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// given reports whether there is a file at all.
func (f WeightsFile) given() bool { return f.Path != "" || f.Artifact != "" }

// Validate reports a file without a digest.
func (f WeightsFile) Validate() error {
	switch {
	case f.Artifact != "" && (f.Path != "" || f.SHA256 != ""):
		return component.Fieldf("weights.artifact", "give either an artifact or path and sha256")
	case !f.given() && (f.SHA256 != "" || len(f.Names) > 0 || len(f.Skip) > 0 || f.Partial):
		return component.Fieldf("weights.path", "missing: say where the file is, or which artifact it is")
	case f.Path != "" && f.SHA256 == "":
		return component.Fieldf("weights.sha256", "missing: a run is identified by the file's digest; `sha256sum %s` prints it", f.Path)
	case f.Path != "" && !hexDigest.MatchString(f.SHA256):
		return component.Fieldf("weights.sha256", "must be 64 hexadecimal digits in lower case, is %.80q", f.SHA256)
	}
	return nil
}

// torchName is where a parameter is in a PyTorch state dict, and in which
// layout.
type torchName struct {
	key      string // of the layer in [WeightsFile.Names]
	module   int    // in an nn.Sequential; -1 for none
	suffix   string // or several, the first that there is; "" stands for weight
	plus     string // a second tensor that is added
	window   [2]int // of a convolution
	channels int    // of a flattened image, whose channels PyTorch has outermost
	same     bool   // not transposed
}

// bias is the name of the bias beside a weight.
func (t torchName) bias() torchName { return torchName{key: t.key, module: t.module, suffix: "bias"} }

func (t torchName) suffixed(suffix string) torchName {
	return torchName{key: t.key, module: t.module, suffix: suffix}
}

// load sets the network's parameters from a file.
func (m *maker) load(f WeightsFile) error {
	if !f.given() || m.dry {
		return nil
	}
	if err := m.loadFile(f); err != nil {
		return component.At("weights", err)
	}
	return nil
}

func (m *maker) loadFile(f WeightsFile) error {
	tensors, err := f.tensors(m.env.Artifacts)
	if err != nil {
		return err
	}
	absent := map[string]bool{} // layers that Partial leaves to the initialiser
	found := false
	for _, x := range m.stored() {
		if slices.Contains(f.Skip, x.layer) {
			continue
		}
		err := f.set(tensors, x.v.Name, x.v.Shape, make([]float32, len(x.v.F32)), x.torch)
		if _, lacks := errors.AsType[*absentError](err); lacks && f.Partial {
			absent[x.layer] = true
		} else if err != nil {
			return fmt.Errorf("%s of layer %s: %w", x.what, x.layer, err)
		}
	}
	for _, x := range m.stored() {
		if absent[x.layer] || slices.Contains(f.Skip, x.layer) {
			continue
		}
		if err := f.set(tensors, x.v.Name, x.v.Shape, x.v.F32, x.torch); err != nil {
			return fmt.Errorf("%s of layer %s: %w", x.what, x.layer, err)
		}
		found = true
	}
	if !found && f.Partial {
		return component.Fieldf("partial", "no layer of the network is in the file")
	}
	for _, name := range f.Skip {
		if !slices.ContainsFunc(m.stored(), func(x storedVar) bool { return x.layer == name }) {
			return component.Fieldf("skip", "the network has no layer %q", name)
		}
	}
	return nil
}

// storedVar is a variable of the network that a file of weights may hold.
type storedVar struct {
	layer, what string
	v           *graph.Var
	torch       torchName
}

// stored lists the parameters and statistics of the network.
func (m *maker) stored() []storedVar {
	var all []storedVar
	for _, p := range m.params {
		if p.Role != Adapted { // what a method has added starts as it says
			all = append(all, storedVar{p.Layer, string(p.Role), p.Var, p.torch})
		}
	}
	for _, s := range m.statistics {
		all = append(all, storedVar{s.layer, "statistics", s.v, s.torch})
	}
	return all
}

// absentError says that the file has no tensor for a parameter, or one of
// another shape.
type absentError struct{ error }

func (e *absentError) Unwrap() error { return e.error }

// tensors returns the tensors of the file or the artifact by name.
func (f WeightsFile) tensors(artifacts component.Artifacts) (map[string]safetensors.Tensor, error) {
	read, what := f.read, f.Path
	if f.Artifact != "" {
		read, what = func() ([]byte, error) { return artifacts.Artifact(f.Artifact) }, "artifact "+f.Artifact
	}
	b, err := read()
	if err != nil {
		return nil, err
	}
	decoded, err := safetensors.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return decoded.ByName(), nil
}

// read returns the file, once its digest is the right one.
func (f WeightsFile) read() ([]byte, error) {
	const limit = 8*tensor.MaxElems + safetensors.MaxHeader
	file, err := os.Open(f.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, component.Fieldf("path", "there is no file %s on this machine; put it where every worker finds it under this path", f.Path)
	}
	if err != nil {
		return nil, component.At("path", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return nil, component.Fieldf("path", "%s is not a regular file of at most %d bytes", f.Path, int64(limit))
	}
	// Only a file with the digest is read into memory. The message does not say
	// which digest another file has: it is not the spec's business.
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return nil, component.At("path", err)
	}
	another := component.Fieldf("sha256", "%s has another digest: it is not the file that the spec is about", f.Path)
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return nil, another
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, component.At("path", err)
	}
	b, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, component.At("path", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != f.SHA256 { // written to in between
		return nil, another
	}
	return b, nil
}

// set finds a parameter in the file and copies it.
func (f WeightsFile) set(tensors map[string]safetensors.Tensor, name string, shape tensor.Shape, dst []float32, torch torchName) error {
	if t, ok := tensors[name]; ok { // a checkpoint of ours
		return copyTensor(dst, t, shape, func(i int) int { return i })
	}
	suffixes := strings.Split(torch.suffix, "|")
	if torch.suffix == "" {
		suffixes = []string{"weight"}
	}
	prefix, known := f.Names[torch.key]
	var tried []string
	candidates := []string{prefix}
	if !known {
		candidates = []string{strings.ReplaceAll(torch.key, "/", ".")}
		if torch.module >= 0 {
			candidates = append(candidates, strconv.Itoa(torch.module))
		}
	}
	for _, prefix := range candidates {
		if prefix != "" {
			prefix += "."
		}
		i := slices.IndexFunc(suffixes, func(suffix string) bool {
			_, ok := tensors[prefix+suffix]
			return ok
		})
		if i < 0 {
			tried = append(tried, prefix+suffixes[0])
			continue
		}
		t := tensors[prefix+suffixes[i]]
		torchShape, index := torch.layout(shape)
		if err := copyTensor(dst, t, torchShape, index); err != nil || torch.plus == "" {
			return err
		}
		second, ok := tensors[prefix+torch.plus]
		if !ok {
			return nil
		}
		sum := make([]float32, len(dst))
		if err := copyTensor(sum, second, torchShape, index); err != nil {
			return err
		}
		for i, v := range sum {
			dst[i] += v
		}
		return nil
	}
	return &absentError{component.Fieldf("names", "the file has no tensor %s; say which module of PyTorch's it is: names: {%s: MODULE}", strings.Join(tried, " or "), torch.key)}
}

// layout returns the shape that a parameter has in PyTorch, and where in it the
// element i of ours is.
func (t torchName) layout(shape tensor.Shape) (tensor.Shape, func(i int) int) {
	if len(shape) != 2 || t.same {
		return shape, func(i int) int { return i }
	}
	in, out := shape[0], shape[1]
	switch {
	case t.window != [2]int{}:
		places := t.window[0] * t.window[1]
		channels := in / places
		return tensor.Shape{out, channels, t.window[0], t.window[1]}, func(i int) int {
			row, o := i/out, i%out
			place, c := row/channels, row%channels
			return (o*channels+c)*places + place
		}
	case t.channels > 0:
		places := in / t.channels
		return tensor.Shape{out, in}, func(i int) int {
			row, o := i/out, i%out
			place, c := row/t.channels, row%t.channels
			return o*in + c*places + place
		}
	}
	return tensor.Shape{out, in}, func(i int) int { return i%out*in + i/out }
}

// copyTensor sets dst[i] to the element index(i) of a tensor of that shape.
func copyTensor(dst []float32, t safetensors.Tensor, shape tensor.Shape, index func(int) int) error {
	if !shape.Equal(t.Shape) {
		return &absentError{fmt.Errorf("tensor %s has shape %v, needed is %v", t.Name, t.Shape, shape)}
	}
	var at func(k int) float64
	switch t.DType {
	case "F32":
		at = func(k int) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*k:]))) }
	case "F64":
		at = func(k int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*k:])) }
	default:
		return fmt.Errorf("tensor %s has elements of type %s, needed is F32 or F64", t.Name, t.DType)
	}
	for i := range dst {
		v := float32(at(index(i)))
		if v-v != 0 {
			return fmt.Errorf("tensor %s: element %d is %v", t.Name, index(i), v)
		}
		dst[i] = v
	}
	return nil
}
