package engine_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// tiny is a spec with state of every kind: optimiser moments, a method's, a
// probe's window.
func tiny() engine.RawSpec {
	return engine.RawSpec{
		Stream: object{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 20.0, "bits": 4.0, "slow_bits": 2.0},
		Learner: object{
			"network":   object{"kind": "mlp", "hidden": []any{3.0}},
			"optimizer": object{"kind": "adam"},
			"methods":   []any{object{"kind": "continual-backprop", "replacement_rate": 0.05, "maturity": 3.0}},
		},
		Probes: []map[string]any{{"kind": "loss", "every": 7.0}},
	}
}

func TestForksGoTheirOwnWay(t *testing.T) {
	spec := resolve(t, tiny())
	full := live(t, spec, 1)
	l, r := newLife(t, spec, 1), newRecord()
	require.NoError(t, l.Advance(context.Background(), 27, r))
	before := save(t, l)
	fork, err := l.Fork()
	require.NoError(t, err)
	require.Equal(t, int64(27), fork.Step())

	forkRows := newRecord()
	forkRows.rows, forkRows.boundaries = maps.Clone(r.rows), slices.Clone(r.boundaries)
	require.NoError(t, fork.Advance(context.Background(), spec.Steps(), forkRows))
	require.Equal(t, before, save(t, l), "the fork's life changed the original")
	require.NoError(t, l.Advance(context.Background(), spec.Steps(), r))
	requireSame(t, full, r, "the original")
	requireSame(t, full, forkRows, "the fork")
}

func TestCancelledLivesCanBeSaved(t *testing.T) {
	raw := tiny()
	raw.Stream["examples_per_task"] = 3000.0
	spec := resolve(t, raw)
	full := live(t, spec, 1)

	ctx, cancel := context.WithCancel(context.Background())
	r := newRecord()
	l := newLife(t, spec, 1)
	err := l.Advance(ctx, spec.Steps(), onRows{r, cancel})
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, l.Step())
	require.Less(t, l.Step(), int64(3000), "in the middle of the first task")
	require.NotEmpty(t, r.rows)

	b := save(t, l)
	restored := newLife(t, spec, 1)
	require.NoError(t, restored.Load(b))
	rest := &record{maps.Clone(r.rows), slices.Clone(r.boundaries)}
	require.NoError(t, restored.Advance(context.Background(), spec.Steps(), rest))
	requireSame(t, full, rest, "restored")
	require.NoError(t, l.Advance(context.Background(), spec.Steps(), r))
	requireSame(t, full, r, "advanced further")

	require.ErrorIs(t, newLife(t, spec, 1).Advance(ctx, 10, r), context.Canceled, "cancelled from the start")
}

// onRows calls a function when the first rows come.
type onRows struct {
	*record
	do func()
}

func (o onRows) Rows(r engine.Rows) error {
	o.do()
	return o.record.Rows(r)
}

func TestErrorsOfTheSinkAreNotTheRuns(t *testing.T) {
	spec := resolve(t, tiny())
	full := errors.New("disk full")
	for _, s := range []engine.Sink{failing{rows: full}, failing{boundary: full}} {
		err := newLife(t, spec, 1).Advance(context.Background(), spec.Steps(), s)
		var sink *engine.SinkError
		require.ErrorAs(t, err, &sink)
		require.ErrorIs(t, err, full)
	}
}

type failing struct{ rows, boundary error }

func (f failing) Rows(engine.Rows) error         { return f.rows }
func (f failing) Boundary(engine.Boundary) error { return f.boundary }

func TestAdvanceBeyondTheEnd(t *testing.T) {
	spec := resolve(t, tiny())
	err := newLife(t, spec, 1).Advance(context.Background(), spec.Steps()+1, discard{})
	require.ErrorContains(t, err, "the run has 60 steps")
}

func TestNonFiniteValuesNameThePlace(t *testing.T) {
	for layer, c := range map[string]struct {
		stream object
		hidden []any
	}{
		"output":      {tiny().Stream, []any{20.0, 20.0}}, // the square of the error overflows first
		"hidden[1-4]": {object{"kind": "permuted", "tasks": 2.0, "examples_per_task": 100.0}, []any{20.0, 20.0, 20.0, 20.0}},
	} {
		l := newLife(t, resolve(t, engine.RawSpec{Stream: c.stream, Learner: object{
			"network":   object{"kind": "mlp", "hidden": c.hidden},
			"optimizer": object{"kind": "sgd", "lr": 1000.0},
		}}), 1)
		err := l.Advance(context.Background(), 60, discard{})
		require.Error(t, err)
		require.Regexp(t, `^step \d+ \(task \d+\): the loss is .*not finite is in layer `+layer+`;`, err.Error())
	}
}

func TestMissingDatasetsCanBeToldFromMistakes(t *testing.T) {
	spec := resolve(t, engine.RawSpec{
		Stream:  object{"kind": "permuted"},
		Learner: object{"network": object{"kind": "mlp"}, "optimizer": object{"kind": "sgd"}},
	})
	require.Equal(t, []string{"mnist"}, spec.Datasets())
	_, err := engine.New(spec, engine.Env{Data: data.NewDir(t.TempDir())})
	var missing *data.MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "mnist", missing.Name)
	require.ErrorContains(t, err, "neoteny data import mnist")
}

// checkpoint is one of a tiny life in the middle of a task.
func checkpoint(t testing.TB) (*engine.Spec, []byte) {
	spec := resolve(t, tiny())
	l := newLife(t, spec, 1)
	require.NoError(t, l.Advance(context.Background(), 33, discard{}))
	return spec, save(t, l)
}

func TestEveryAlteredByteIsNoticed(t *testing.T) {
	spec, good := checkpoint(t)
	l := newLife(t, spec, 1) // for what must fail; building one per byte takes long
	for i := range good {
		bad := slices.Clone(good)
		for _, mask := range []byte{1, 0x20, 0x80} { // 0x20 turns hex digits to capitals
			bad[i] = good[i] ^ mask
			if l.Load(bad) == nil {
				t.Fatalf("byte %d of %d: %q for %q", i, len(good), bad[i], good[i])
			}
		}
		if l.Load(good[:i]) == nil {
			t.Fatalf("cut to %d of %d bytes", i, len(good))
		}
	}
	require.Error(t, l.Load(append(slices.Clone(good), 0)))
	require.NoError(t, newLife(t, spec, 1).Load(good))
}

func TestCheckpointsOfOtherLives(t *testing.T) {
	spec, good := checkpoint(t)
	require.ErrorContains(t, newLife(t, spec, 2).Load(good), `its seed is "1", this run's is "2"`)
	raw := tiny()
	raw.Stream["tasks"] = 4.0
	require.ErrorContains(t, newLife(t, resolve(t, raw), 1).Load(good), "its spec is")

	edit := func(f func(*safetensors.File)) []byte {
		file, err := safetensors.Decode(slices.Clone(good)) // tensors share its memory
		require.NoError(t, err)
		f(file)
		var buf bytes.Buffer
		require.NoError(t, safetensors.Encode(&buf, file))
		return buf.Bytes()
	}
	for what, c := range map[string]struct {
		edit func(*safetensors.File)
		want string
	}{
		"nothing changed":  {func(*safetensors.File) {}, ""},
		"another step":     {func(f *safetensors.File) { f.Metadata["step"] = "34" }, "altered"},
		"more metadata":    {func(f *safetensors.File) { f.Metadata["more"] = "" }, "altered"},
		"no rows":          {func(f *safetensors.File) { delete(f.Metadata, "rows") }, "altered"},
		"no metadata":      {func(f *safetensors.File) { f.Metadata = nil }, `its format is ""`},
		"another format":   {func(f *safetensors.File) { f.Metadata["format"] = "neoteny-life/9" }, `its format is "neoteny-life/9"`},
		"another numerics": {func(f *safetensors.File) { f.Metadata["numerics"] = "0" }, `its numerics is "0"`},
		"a value":          {func(f *safetensors.File) { f.Tensors[0].Data[0] ^= 1 }, "altered"},
		"a name":           {func(f *safetensors.File) { f.Tensors[0].Name += "x" }, "is missing"},
		"a missing tensor": {func(f *safetensors.File) { f.Tensors = f.Tensors[1:] }, "is missing"},
		"one too many": {func(f *safetensors.File) {
			f.Tensors = append(f.Tensors, safetensors.Tensor{Name: "zzz", DType: "U8", Shape: []int{1}, Data: []byte{1}})
		}, "variable zzz is not of this learner"},
		"another shape": {func(f *safetensors.File) { f.Tensors[0].Shape = append([]int{1}, f.Tensors[0].Shape...) }, "must be"},
	} {
		err := newLife(t, spec, 1).Load(edit(c.edit))
		if c.want == "" {
			require.NoError(t, err, what)
			continue
		}
		require.ErrorContains(t, err, c.want, what)
	}
}

func FuzzLoad(f *testing.F) {
	spec, good := checkpoint(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	for _, at := range []int{8, 40, 200, len(good) - 9} {
		bad := slices.Clone(good)
		bad[at] ^= 0x41
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLife(t, spec, 1)
		if l.Load(b) != nil {
			return
		}
		// What is taken is a checkpoint that this life could have written.
		require.NoError(t, l.Advance(context.Background(), spec.Steps(), discard{}))
	})
}

// TestSchedules computes what is kept every four steps from what is kept every
// step. Windows go on over the ends of tasks; the task table does not.
func TestSchedules(t *testing.T) {
	raw := tiny()
	raw.Stream["examples_per_task"] = 10.0
	raw.Probes = []map[string]any{{"kind": "loss"}}
	for _, reduce := range []string{"mean", "last", "max"} {
		for name, every := range map[string]any{"window": 4.0, "task": "task"} {
			raw.Probes = append(raw.Probes, object{"kind": "loss", "every": every, "reduce": reduce, "as": name + "_" + reduce})
		}
	}
	raw.Probes = append(raw.Probes, object{"kind": "weight-magnitude", "at": "start"}, object{"kind": "weight-magnitude", "as": "after"},
		object{"kind": "weight-magnitude", "as": "now_and_then", "every": 5.0},
		object{"kind": "weight-magnitude", "as": "seldom", "every": "2 tasks"}, object{"kind": "weight-magnitude", "as": "seldom_before", "every": "2 tasks", "at": "start"},
		object{"kind": "loss", "as": "loss_of_two", "every": "2 tasks"})
	spec := resolve(t, raw)
	require.Equal(t, int64(30), spec.Steps())
	r := live(t, spec, 1)

	value := func(p point) float64 { return float64(math.Float32frombits(p.bits)) }
	var loss []float64
	for i, p := range r.rows["loss"] {
		require.Equal(t, int64(i), p.step)
		loss = append(loss, value(p))
	}
	require.Len(t, loss, 30)
	reduced := map[string]func([]float64) float64{
		"last": func(x []float64) float64 { return x[len(x)-1] },
		"max":  slices.Max[[]float64],
		"mean": func(x []float64) float64 {
			var sum float64
			for _, v := range x {
				sum += v
			}
			return sum / float64(len(x))
		},
	}
	table := map[string]int{}
	for i, c := range newLife(t, spec, 1).Columns() {
		table[c.String()] = i
	}
	for reduce, of := range reduced {
		for name, length := range map[string]int{"window_": 4, "task_": 10} {
			points := r.rows[name+reduce]
			require.Len(t, points, 30/length)
			byTask := map[int][]float64{}
			for i, p := range points {
				require.Equal(t, int64((i+1)*length-1), p.step)
				require.Equal(t, float32(of(loss[i*length:(i+1)*length])), float32(value(p)), "%s%s at step %d", name, reduce, p.step)
				byTask[int(p.step)/10] = append(byTask[int(p.step)/10], value(p))
			}
			for _, b := range r.boundaries {
				require.Equal(t, of(byTask[b.Task]), b.Table[table[name+reduce]], "%s%s: table of task %d", name, reduce, b.Task)
			}
		}
	}
	for _, b := range r.boundaries {
		require.Equal(t, reduced["mean"](loss[b.Task*10:b.Task*10+10]), b.Table[table["loss"]])
	}

	steps := func(c string) (s []int64) {
		for _, p := range r.rows[c] {
			s = append(s, p.step)
		}
		return s
	}
	require.Equal(t, []int64{0, 10, 20}, steps("weight_magnitude"), "before the first step of each task")
	require.Equal(t, []int64{9, 19, 29}, steps("after"))
	require.Equal(t, []int64{4, 9, 14, 19, 24, 29}, steps("now_and_then"))
	require.Equal(t, []int64{19}, steps("seldom"))
	require.Equal(t, []int64{0, 20}, steps("seldom_before"))
	require.Equal(t, []int64{19}, steps("loss_of_two"))
	require.Equal(t, float32(reduced["mean"](loss[:20])), float32(value(r.rows["loss_of_two"][0])))
	require.Equal(t, r.rows["after"][0].bits, r.rows["weight_magnitude"][1].bits, "nothing happens between tasks")
	require.Equal(t, r.rows["after"][1].bits, r.rows["now_and_then"][3].bits)
}

// TestTooLargeAnEvaluation: what does not fit into a tensor is an error, not the
// end of the process.
func TestTooLargeAnEvaluation(t *testing.T) {
	info := stream.Info{Input: tensor.Shape{1}, Outputs: 1, Batch: 1}
	l, err := engine.NewLearner(object{
		"network":   object{"kind": "mlp", "hidden": []any{1048576.0}},
		"optimizer": object{"kind": "sgd"},
	}, info, 0)
	require.NoError(t, err)
	_, err = l.Evaluate(stream.NewBatch(info, 1025))
	require.ErrorContains(t, err, "elements")
}

// Datasets have the channels of colour images first; convolutions read them as images.
func TestColourImagesGoIntoConvolutions(t *testing.T) {
	for kind, network := range map[string]object{
		"net/conv1/weight": {"kind": "cnn", "convolutions": []any{object{"channels": 2.0, "kernel": 5.0, "stride": 3.0, "pool": 2.0}}, "hidden": []any{5.0}},
		"net/stem/weight":  {"kind": "resnet", "blocks": []any{1.0}, "width": 2.0},
	} {
		spec := resolve(t, engine.RawSpec{
			Stream: object{"kind": "images", "dataset": "cifar-10", "tasks": 2.0, "batch": 4.0, "subset": 40.0},
			Learner: object{"network": network, "optimizer": object{"kind": "sgd", "lr": 0.01}, "methods": []any{
				object{"kind": "augment"}, object{"kind": "dual-arch", "network": maps.Clone(network)},
			}},
			Probes: []map[string]any{{"kind": "loss"}},
		})
		l := newLife(t, spec, 1)
		require.NoError(t, l.Advance(context.Background(), 5, discard{}))
		f, err := safetensors.Decode(save(t, l))
		require.NoError(t, err)
		window := map[string]int{"net/conv1/weight": 5 * 5, "net/stem/weight": 3 * 3}[kind]
		require.Equal(t, []int{window * 3, 2}, f.ByName()[kind].Shape, "of all three channels")
	}
}
