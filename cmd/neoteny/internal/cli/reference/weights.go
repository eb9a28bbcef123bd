package reference

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/pkg/engine/safetensors"
)

func init() {
	app.Register(app.Command{
		Name: "weights", Help: "Show what a safetensors file holds.", Group: app.Reference, Place: 6,
		New: func() any { return &weightsCmd{} },
	})
}

type weightsCmd struct {
	File string `arg:"" help:"A safetensors file: weights of a run, a checkpoint, or another program's." type:"existingfile"`
	app.Output
}

func (weightsCmd) Help() string {
	return `Lists the tensors of a safetensors file with type, shape and what their values are like, and the file's SHA-256, by which weights: {path: FILE, sha256: …} names it in an experiment.

  neoteny weights results/quickstart-1f3a/weights/backprop/0.safetensors
  neoteny weights base.safetensors -o json | jq '.tensors[].name'`
}

// maxWeights bounds the file.
const maxWeights = 4 << 30

// tensorLine describes a tensor.
type tensorLine struct {
	Name      string   `json:"name"`
	DType     string   `json:"dtype"`
	Shape     []int    `json:"shape"`
	Values    int      `json:"values"`
	Mean      *float64 `json:"mean"` // null where there is no finite value
	Deviation *float64 `json:"deviation"`
	Lowest    *float64 `json:"min"`
	Highest   *float64 `json:"max"`
	NotFinite int      `json:"not_finite"`
}

func (c *weightsCmd) Run(a *app.App) error {
	b, err := read(c.File)
	if err != nil {
		return err
	}
	f, err := safetensors.Decode(b)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	lines, total := []tensorLine{}, 0
	for _, t := range f.Tensors {
		l := describe(t)
		total += l.Values
		lines = append(lines, l)
	}
	if c.JSON() {
		metadata := f.Metadata
		if metadata == nil {
			metadata = map[string]string{}
		}
		return a.PrintJSON(map[string]any{"sha256": digest, "values": total, "metadata": metadata, "tensors": lines})
	}
	t := &render.Table{Columns: []render.Column{
		{Title: "TENSOR"}, {Title: "TYPE"}, {Title: "SHAPE"}, {Title: "MEAN", Align: render.Right}, {Title: "DEVIATION", Align: render.Right},
		{Title: "MIN", Align: render.Right}, {Title: "MAX", Align: render.Right}, {Title: "NOT FINITE", Align: render.Right},
	}}
	for _, l := range lines {
		t.Add(l.Name, l.DType, fmt.Sprint(l.Shape), figure(l.Mean), figure(l.Deviation), figure(l.Lowest), figure(l.Highest), fmt.Sprint(l.NotFinite))
	}
	if err := t.Write(a.Out); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%d tensors, %s values, SHA-256 %s\n", len(lines), render.Count(int64(total)), digest)
	for _, k := range slices.Sorted(maps.Keys(f.Metadata)) {
		fmt.Fprintf(a.Out, "%s: %s\n", k, f.Metadata[k])
	}
	return nil
}

// read reads a file within the bound.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxWeights+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > maxWeights {
		return nil, errors.New(path + ": larger than 4 GiB")
	}
	return b, nil
}

// describe takes a tensor's values in two passes.
func describe(t safetensors.Tensor) tensorLine {
	l := tensorLine{Name: t.Name, DType: t.DType, Shape: t.Shape}
	if l.Shape == nil {
		l.Shape = []int{}
	}
	var sum float64
	n, low, high := 0, math.Inf(1), math.Inf(-1)
	values(t, func(v float64) {
		l.Values++
		if math.IsNaN(v) || math.IsInf(v, 0) {
			l.NotFinite++
			return
		}
		n++
		sum += v
		low, high = min(low, v), max(high, v)
	})
	if n == 0 {
		return l
	}
	mean, squares := sum/float64(n), 0.0
	values(t, func(v float64) {
		if d := v - mean; !math.IsNaN(d) && !math.IsInf(d, 0) {
			squares += d * d
		}
	})
	deviation := math.Sqrt(squares / float64(n))
	l.Mean, l.Deviation, l.Lowest, l.Highest = &mean, &deviation, &low, &high
	return l
}

// values calls f with every element of a tensor.
func values(t safetensors.Tensor, f func(float64)) {
	of := map[string]struct {
		size int
		read func([]byte) float64
	}{
		"F64": {8, func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }},
		"F32": {4, func(b []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) }},
		"I64": {8, func(b []byte) float64 { return float64(int64(binary.LittleEndian.Uint64(b))) }},
		"I32": {4, func(b []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(b))) }},
		"U8":  {1, func(b []byte) float64 { return float64(b[0]) }},
	}[t.DType]
	if of.size == 0 {
		return
	}
	for b := range slices.Chunk(t.Data, of.size) {
		f(of.read(b))
	}
}

func figure(v *float64) string {
	if v == nil {
		return "-"
	}
	return render.Number(*v)
}
