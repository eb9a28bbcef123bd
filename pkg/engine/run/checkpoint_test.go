package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	_ "neoteny/pkg/engine/learners"
	_ "neoteny/pkg/engine/probes"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/spec"
	_ "neoteny/pkg/engine/streams"
)

type nowhere struct{}

func (nowhere) Rows(Rows) error         { return nil }
func (nowhere) Boundary(Boundary) error { return nil }

// forged is a life with a checkpoint whose content a test may choose, and which
// it signs as Save does: what a digest cannot protect from.
func forged(t testing.TB) (*spec.Spec, *Life, *safetensors.File) {
	t.Helper()
	s, err := spec.Resolve(spec.Raw{
		Stream: map[string]any{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 20.0, "bits": 4.0, "slow_bits": 2.0},
		Learner: map[string]any{
			"network":   map[string]any{"kind": "mlp", "hidden": []any{3.0}},
			"optimizer": map[string]any{"kind": "adam"},
		},
		Probes: []map[string]any{{"kind": "loss", "every": 7.0}},
	})
	require.NoError(t, err)
	l, err := New(s, Env{Seed: 1})
	require.NoError(t, err)
	require.NoError(t, l.Advance(context.Background(), 33, nowhere{}))
	var buf bytes.Buffer
	require.NoError(t, l.Save(&buf))
	f, err := safetensors.Decode(buf.Bytes())
	require.NoError(t, err)
	return s, l, f
}

// sign makes the digests of a checkpoint those of its content, and encodes it.
func sign(t testing.TB, l *Life, f *safetensors.File) []byte {
	t.Helper()
	for _, x := range f.Tensors {
		if v := l.learner.Store().Lookup(x.Name); v != nil && len(x.Data) == len(v.Bytes()) {
			v.SetBytes(x.Data)
		}
	}
	d := l.digest()
	f.Metadata["state"] = hex.EncodeToString(d[:])
	f.Metadata["digest"] = metadataDigest(f.Metadata)
	var buf bytes.Buffer
	require.NoError(t, safetensors.Encode(&buf, f))
	return buf.Bytes()
}

func TestForgedCheckpoints(t *testing.T) {
	for name, c := range map[string]struct {
		key, value, want string
	}{
		"nothing changed":   {"step", "33", ""},
		"the first step":    {"step", "0", ""},
		"the last step":     {"step", "60", ""},
		"beyond the end":    {"step", "61", `step "61" is not in the run of 60 steps`},
		"before the start":  {"step", "-1", `step "-1" is not in the run`},
		"no number":         {"step", "1e1", `step "1e1" is not in the run`},
		"beyond int64":      {"step", "99999999999999999999", "is not in the run"},
		"rows not in hex":   {"rows", "xyz", "digest of rows"},
		"rows cut":          {"rows", "00ff", "digest of rows"},
		"rows of another":   {"rows", hex.EncodeToString([]byte("md5\x01" + string(make([]byte, 88)))), "digest of rows"},
		"a seed by another": {"seed", "01", `its seed is "01"`},
	} {
		s, l, f := forged(t)
		f.Metadata[c.key] = c.value
		b := sign(t, l, f)
		into, err := New(s, Env{Seed: 1})
		require.NoError(t, err)
		err = into.Load(b)
		if c.want == "" {
			require.NoError(t, err, name)
			require.Equal(t, c.value, strconv.FormatInt(into.Step(), 10))
			require.NoError(t, into.Advance(context.Background(), s.Steps(), nowhere{}), name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
	}
}

// FuzzLoadForged gives a life a checkpoint that is well signed: any step, any
// state of the rows' digest, any bits in a variable.
func FuzzLoadForged(f *testing.F) {
	s, l, file := forged(f)
	rows, err := sha256.New().(encoding.BinaryMarshaler).MarshalBinary()
	require.NoError(f, err)
	f.Add(int64(33), rows, uint8(0), []byte{0, 0, 0x80, 0x7f})
	f.Add(int64(60), rows[:20], uint8(3), []byte{0xff})
	f.Add(int64(-1), []byte("sha\x03"), uint8(255), []byte{})
	f.Fuzz(func(t *testing.T, step int64, rows []byte, tensor uint8, data []byte) {
		if len(rows) > 1000 {
			return
		}
		forgery := &safetensors.File{Tensors: append([]safetensors.Tensor(nil), file.Tensors...), Metadata: map[string]string{}}
		for k, v := range file.Metadata {
			forgery.Metadata[k] = v
		}
		forgery.Metadata["step"] = strconv.FormatInt(step, 10)
		forgery.Metadata["rows"] = hex.EncodeToString(rows)
		x := &forgery.Tensors[int(tensor)%len(forgery.Tensors)]
		changed := append([]byte(nil), x.Data...)
		copy(changed, data)
		x.Data = changed
		b := sign(t, l, forgery)
		into, err := New(s, Env{Seed: 1})
		require.NoError(t, err)
		if into.Load(b) != nil {
			return
		}
		// It may fail, of values that are not finite for one, but by an error.
		if into.Advance(context.Background(), s.Steps(), nowhere{}) == nil {
			require.Equal(t, s.Steps(), into.Step())
		}
	})
}

// TestVariablesOfAllTypesGoIntoCheckpoints: no component may have one of a type
// yet, but some will.
func TestVariablesOfAllTypesGoIntoCheckpoints(t *testing.T) {
	make1 := func() []*graph.Var {
		s := graph.NewStore()
		s.New("f32", graph.F32, graph.Persistent, 3)
		s.New("f64", graph.F64, graph.Persistent, 2)
		s.New("i32", graph.I32, graph.Persistent, 2, 2)
		s.New("u8", graph.U8, graph.Persistent, 5)
		return s.Vars()
	}
	from, to := make1(), make1()
	copy(from[0].F32, []float32{1.5, float32(math.Inf(-1)), -0})
	copy(from[1].F64, []float64{math.Pi, math.SmallestNonzeroFloat64})
	copy(from[2].I32, []int32{-1, math.MaxInt32, math.MinInt32, 7})
	copy(from[3].U8, []uint8{0, 255, 1, 2, 3})
	for i, v := range from {
		a, b := sha256.New(), sha256.New()
		hashVar(a, v)
		hashVar(b, to[i])
		require.NotEqual(t, a.Sum(nil), b.Sum(nil), "the digest sees %s", v.Name)
		to[i].SetBytes(v.Bytes())
		require.Equal(t, v.F32, to[i].F32)
		require.Equal(t, v.F64, to[i].F64)
		require.Equal(t, v.I32, to[i].I32)
		require.Equal(t, v.U8, to[i].U8)
		a.Reset()
		b.Reset()
		hashVar(a, v)
		hashVar(b, to[i])
		require.Equal(t, a.Sum(nil), b.Sum(nil))
	}
}
