package data

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/safetensors"
)

// drawn returns a dataset that may be kept in a container.
func drawn(t *rapid.T) *Dataset {
	d := &Dataset{}
	d.Shape = rapid.SliceOfN(rapid.IntRange(1, 4), 1, 3).Draw(t, "shape")
	d.Floats = rapid.Bool().Draw(t, "floats")
	if rapid.Bool().Draw(t, "classification") {
		d.Classes = rapid.IntRange(2, 4).Draw(t, "classes")
	} else {
		d.Targets = rapid.IntRange(1, 3).Draw(t, "targets")
	}
	finite := rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32)
	for _, part := range d.parts() {
		s := part.split
		s.N = rapid.IntRange(0, 5).Draw(t, "examples")
		if part.name == "train" {
			s.N += max(1, d.Classes)
		}
		if d.Floats {
			s.F = rapid.SliceOfN(finite, s.N*d.Size(), s.N*d.Size()).Draw(t, "x")
		} else {
			s.X = rapid.SliceOfN(rapid.Byte(), s.N*d.Size(), s.N*d.Size()).Draw(t, "x")
		}
		if d.Classes > 0 {
			s.Y = rapid.SliceOfN(rapid.ByteRange(0, uint8(d.Classes-1)), s.N, s.N).Draw(t, "y")
			for c := range d.Classes {
				if part.name == "train" {
					s.Y[c] = uint8(c)
				}
			}
		} else {
			s.T = rapid.SliceOfN(finite, s.N*d.Targets, s.N*d.Targets).Draw(t, "y")
		}
	}
	return d
}

func TestContainerHoldsADataset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawn(t)
		var file, again bytes.Buffer
		require.NoError(t, want.WriteContainer(&file))
		require.NoError(t, want.WriteContainer(&again))
		require.Equal(t, file.Bytes(), again.Bytes())

		got, err := ReadContainer(file.Bytes())
		require.NoError(t, err)
		require.Equal(t, want.Meta, got.Meta)
		for i, part := range got.parts() {
			w := want.parts()[i].split
			require.Equal(t, w.N, part.split.N)
			require.Equal(t, len(w.F), len(part.split.F))
			for k := range w.F {
				require.Equal(t, math.Float32bits(w.F[k]), math.Float32bits(part.split.F[k]))
			}
			require.True(t, bytes.Equal(w.X, part.split.X) && bytes.Equal(w.Y, part.split.Y))
			require.Equal(t, len(w.T), len(part.split.T))
		}

		m, err := ParseRef(got.Name)
		require.NoError(t, err)
		require.Equal(t, got.Meta, m)
		require.Equal(t, m.Files[0].SHA256, m.Digest())
	})
}

func TestEveryChangeOfContentIsAnotherDataset(t *testing.T) {
	one := func(change func(*Dataset)) string {
		d := &Dataset{Meta: Meta{Shape: []int{2, 2}, Classes: 2}}
		d.TrainSplit = Split{N: 2, X: []uint8{0, 1, 2, 3, 4, 5, 6, 7}, Y: []uint8{0, 1}}
		d.TestSplit = Split{N: 1, X: []uint8{0, 1, 2, 3}, Y: []uint8{0}}
		change(d)
		require.NoError(t, d.WriteContainer(&bytes.Buffer{}))
		return d.Digest()
	}
	seen := map[string]bool{}
	for _, change := range []func(*Dataset){
		func(*Dataset) {},
		func(d *Dataset) { d.Shape = []int{4} },
		func(d *Dataset) { d.TrainSplit.X[7]++ },
		func(d *Dataset) { d.TrainSplit.Y = []uint8{1, 0} },
		func(d *Dataset) { d.TestSplit.Y[0] = 1 },
		func(d *Dataset) { d.TestSplit = Split{} },
		func(d *Dataset) {
			d.Floats, d.TestSplit, d.TrainSplit.X, d.TrainSplit.F = true, Split{}, nil, make([]float32, 8)
		},
		func(d *Dataset) {
			d.Classes, d.Targets, d.TestSplit, d.TrainSplit.Y, d.TrainSplit.T = 0, 1, Split{}, nil, make([]float32, 2)
		},
	} {
		digest := one(change)
		require.False(t, seen[digest])
		seen[digest] = true
	}
}

func TestReadContainerIsStrict(t *testing.T) {
	good := func() *safetensors.File {
		return &safetensors.File{
			Metadata: map[string]string{"format": containerFormat, "classes": "2"},
			Tensors: []safetensors.Tensor{
				{Name: "train.x", DType: "F32", Shape: []int{2, 1}, Data: make([]byte, 8)},
				{Name: "train.y", DType: "U8", Shape: []int{2}, Data: []byte{0, 1}},
			},
		}
	}
	encode := func(f *safetensors.File) []byte {
		var b bytes.Buffer
		require.NoError(t, safetensors.Encode(&b, f))
		return b.Bytes()
	}
	_, err := ReadContainer(encode(good()))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*safetensors.File)
		want   string
	}{
		"another format": {func(f *safetensors.File) { f.Metadata["format"] = "pt" }, "no dataset of neoteny"},
		"no classes":     {func(f *safetensors.File) { delete(f.Metadata, "classes") }, "metadata classes"},
		"spelling":       {func(f *safetensors.File) { f.Metadata["classes"] = "+2" }, "not written as neoteny writes it"},
		"more metadata":  {func(f *safetensors.File) { f.Metadata["name"] = "x" }, "not written as neoteny writes it"},
		"more tensors": {func(f *safetensors.File) {
			f.Tensors = append(f.Tensors, safetensors.Tensor{Name: "z", DType: "U8", Shape: []int{0}})
		}, "not written"},
		"no training":      {func(f *safetensors.File) { f.Tensors = nil }, "class 0 has no training example"},
		"NaN":              {func(f *safetensors.File) { copy(f.Tensors[0].Data[4:], "\x00\x00\xc0\x7f") }, "value 0 of example 1 is NaN"},
		"Inf":              {func(f *safetensors.File) { copy(f.Tensors[0].Data, "\x00\x00\x80\xff") }, "value 0 of example 0 is -Inf"},
		"label":            {func(f *safetensors.File) { f.Tensors[1].Data[1] = 255 }, "label 255 of example 1 is not below the 2 classes"},
		"class without":    {func(f *safetensors.File) { f.Tensors[1].Data[1] = 0 }, "class 1 has no training example"},
		"labels too few":   {func(f *safetensors.File) { f.Tensors[1].Shape, f.Tensors[1].Data = []int{1}, []byte{0} }, "1 labels for 2 examples"},
		"labels of floats": {func(f *safetensors.File) { f.Tensors[1].DType, f.Tensors[1].Data = "F32", make([]byte, 8) }, "0 labels for 2 examples"},
		"features of ints": {func(f *safetensors.File) { f.Tensors[0].DType = "I32" }, "are not those of 2 examples"},
		"no shape":         {func(f *safetensors.File) { f.Tensors[0].Shape = []int{2} }, "want examples and their shape"},
		"too many classes": {func(f *safetensors.File) { f.Metadata["classes"] = "1000" }, "between 2 and 256 classes"},
		"another test shape": {func(f *safetensors.File) {
			f.Tensors = append(f.Tensors, safetensors.Tensor{Name: "test.x", DType: "F32", Shape: []int{1, 2}, Data: make([]byte, 8)})
		}, "test.x has examples of shape [2]"},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			c.change(f)
			_, err := ReadContainer(encode(f))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzReadContainer(f *testing.F) {
	d := &Dataset{Meta: Meta{Shape: []int{2}, Classes: 2}, TrainSplit: Split{N: 2, X: make([]uint8, 4), Y: []uint8{0, 1}}}
	var b bytes.Buffer
	require.NoError(f, d.WriteContainer(&b))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := ReadContainer(in)
		if err != nil {
			return
		}
		var out bytes.Buffer
		require.NoError(t, d.WriteContainer(&out))
		require.Equal(t, in, out.Bytes())
	})
}

func TestParseRefReadsOneSpelling(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	good := "own:float32:4:classes=3:fewest=40:train=120:test=30:sha256=" + digest
	m, err := ParseRef(good)
	require.NoError(t, err)
	require.Equal(t, []int{4}, m.Shape)
	require.Equal(t, digest, m.Digest())
	m, err = ParseRef("own:bytes:3x32x32:targets=2:train=1:test=0:sha256=" + digest)
	require.NoError(t, err)
	require.Equal(t, []any{3 * 32 * 32, 2, 0}, []any{m.Size(), m.Targets, m.Classes})
	for _, bad := range []string{
		"own:", "own:float64:4:classes=3:fewest=40:train=120:test=30:sha256=" + digest,
		strings.Replace(good, "4:", "0:", 1), strings.Replace(good, "4:", "x:", 1), strings.Replace(good, "4:", "1x1x1x1x1x1x1:", 1),
		strings.Replace(good, "4:", "16777217:", 1), strings.Replace(good, "4:", "65536x65536:", 1),
		strings.Replace(good, "classes=3", "classes=1", 1), strings.Replace(good, "classes=3", "classes=257", 1),
		strings.Replace(good, "fewest=40", "fewest=41", 1), strings.Replace(good, "fewest=40", "fewest=0", 1),
		strings.Replace(good, "train=120", "train=0120", 1), strings.Replace(good, "train=120", "train=99999999999", 1),
		strings.Replace(good, "test=30", "test=-1", 1), good + ":", good + "0", strings.ToUpper(good), strings.Replace(good, "0a", "0A", 1),
		"own:float32:16777216:targets=1:train=1000:test=0:sha256=" + digest,
	} {
		_, err := ParseRef(bad)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestDirLoadsOwnDatasets(t *testing.T) {
	dir := t.TempDir()
	d := &Dataset{Meta: Meta{Shape: []int{2}, Floats: true, Targets: 1}, TrainSplit: Split{N: 1, F: []float32{1, 2}, T: []float32{3}}}
	var b bytes.Buffer
	require.NoError(t, d.WriteContainer(&b))
	source := NewDir(dir)

	_, err := source.Load(d.Name)
	require.ErrorAs(t, err, new(*MissingError))
	require.ErrorContains(t, err, "own dataset "+d.Digest()[:12]+" is missing")

	path := filepath.Join(dir, OwnFolder, ContainerFile(d.Digest()))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, b.Bytes()[:b.Len()-1], 0o644))
	_, err = source.Load(d.Name)
	require.ErrorAs(t, err, new(*CorruptError))

	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	got, err := source.Load(d.Name)
	require.NoError(t, err)
	require.Equal(t, []float32{1, 2}, got.TrainSplit.F)
	again, err := source.Load(d.Name)
	require.NoError(t, err)
	require.Same(t, got, again)

	_, err = source.Load(strings.Replace(d.Name, "train=1:", "train=2:", 1)) // the reference must tell the truth
	require.ErrorContains(t, err, "holds own:float32:2:targets=1:train=1")
	_, err = source.Load("own:nonsense")
	require.ErrorContains(t, err, "no reference to an own dataset")
}
