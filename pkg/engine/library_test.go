package engine_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// A learner that is fed the batches of a stream by hand has the state that a
// life's learner has.
func TestNewLearnerIsTheLearnerOfALife(t *testing.T) {
	const seed = 3
	raw := tiny()
	spec := resolve(t, raw)
	life := newLife(t, spec, seed)
	require.NoError(t, life.Advance(t.Context(), 20, discard{}))
	file, err := safetensors.Decode(save(t, life))
	require.NoError(t, err)

	r, err := stream.Resolve("stream", raw.Stream)
	require.NoError(t, err)
	info, err := r.Config.(stream.Config).Info()
	require.NoError(t, err)
	s, err := r.Build(stream.Env{Data: source, Key: func(purpose string) rng.Key { return rng.New(seed, "stream/"+purpose) }})
	require.NoError(t, err)
	l, err := engine.NewLearner(raw.Learner, info, seed)
	require.NoError(t, err)
	require.NoError(t, s.Enter(0))
	b := stream.NewBatch(info, info.Batch)
	step := learner.Step{Batch: b}
	for ; step.Index < 20; step.Index++ {
		s.Batch(step.Index, b)
		step.TaskStep, step.LastStep = step.Index, step.Index == 19
		require.NoError(t, l.Step(&step))
	}
	require.NoError(t, l.EndTask(&step))

	saved := map[string]safetensors.Tensor{}
	for _, x := range file.Tensors {
		saved[x.Name] = x
	}
	compared := 0
	for _, v := range l.Store().Vars() {
		if v.Keep == graph.Persistent {
			require.Equal(t, saved[v.Name].Data, bytesOf(v), v.Name)
			compared++
		}
	}
	require.Greater(t, compared, 8, "parameters, moments, and the method's counters")
}

// Learners in lanes have the state that each has alone.
func TestNewLanesAreLearners(t *testing.T) {
	info := stream.Info{Input: tensor.Shape{5}, Classes: 3, Batch: 2}
	batches := make([]*stream.Batch, 3*12)
	for i := range batches {
		b := stream.NewBatch(info, info.Batch)
		rng.New(uint64(i), "pixels").FillUniform(b.X, -1, 1, 0)
		b.Labels[0], b.Labels[1] = int32(i%3), int32(i%2)
		batches[i] = b
	}
	for name, raw := range map[string]object{
		"plain":           {"network": object{"kind": "mlp", "hidden": []any{4.0}}, "optimizer": object{"kind": "sgd"}},
		"whole gradients": tiny().Learner,
	} {
		if name != "plain" {
			raw["methods"] = append(raw["methods"].([]any), object{"kind": "redo", "period": 5.0, "window": 3.0, "threshold": 0.8})
		}
		seeds := []uint32{7, 1, 4}
		lanes, err := engine.NewLanes(raw, info, seeds)
		require.NoError(t, err)
		steps := make([]learner.Step, len(seeds))
		for i := range 12 {
			for l := range steps {
				steps[l] = learner.Step{Index: int64(i), TaskStep: int64(i), Batch: batches[3*i+l]}
			}
			require.NoError(t, lanes.Step(steps))
		}
		for l, seed := range seeds {
			alone, err := engine.NewLearner(raw, info, seed)
			require.NoError(t, err)
			var s learner.Step
			for i := range 12 {
				s = learner.Step{Index: int64(i), TaskStep: int64(i), Batch: batches[3*i+l]}
				require.NoError(t, alone.Step(&s))
			}
			require.Equal(t, s.Loss, steps[l].Loss)
			for i, v := range lanes.Learners()[l].Store().Vars() {
				require.Equal(t, bytesOf(alone.Store().Vars()[i]), bytesOf(v), "%s, seed %d: %s", name, seed, v.Name)
			}
		}
	}
	_, err := engine.NewLanes(tiny().Learner, info, nil)
	require.ErrorContains(t, err, "no seeds")
	_, err = engine.NewLanes(nil, info, []uint32{1})
	require.ErrorContains(t, err, "learner: missing")
}

// bytesOf returns a variable's values, little endian.
func bytesOf(v *graph.Var) []byte {
	var b bytes.Buffer
	for _, values := range []any{v.F32, v.F64, v.I32, v.U8} {
		if err := binary.Write(&b, binary.LittleEndian, values); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func TestNewLearnerRefuses(t *testing.T) {
	learners := func(edit func(object)) object {
		l := object{"network": object{"kind": "mlp", "hidden": []any{3.0}}, "optimizer": object{"kind": "sgd"}}
		edit(l)
		return l
	}
	plain := learners(func(object) {})
	digits := stream.Info{Input: tensor.Shape{4}, Classes: 3, Batch: 2}
	with := func(edit func(*stream.Info)) stream.Info {
		i := digits
		edit(&i)
		return i
	}
	_, err := engine.NewLearner(plain, digits, 0)
	require.NoError(t, err)
	_, err = engine.NewLearner(plain, stream.Info{Input: tensor.Shape{4}, Outputs: 2, Batch: 1}, 0)
	require.NoError(t, err)

	for field, c := range map[string]struct {
		learner object
		info    stream.Info
	}{
		"learner.optimizer.lr":      {learners(func(l object) { l["optimizer"] = object{"kind": "sgd", "lr": -1.0} }), digits},
		"learner.network":           {learners(func(l object) { l["network"] = object{"kind": "mlp", "hidden": []any{1048576.0, 1048576.0}} }), digits},
		"learner.methods[0].lambda": {learners(func(l object) { l["methods"] = []any{object{"kind": "l2", "lambda": -1.0}} }), digits},
		"learner.loss":              {learners(func(l object) { l["loss"] = "cross-entropy" }), with(func(i *stream.Info) { i.Classes, i.Outputs = 0, 2 })},
		"learner":                   {nil, digits},
		"info.Input":                {plain, with(func(i *stream.Info) { i.Input = nil })},
		"info.Batch":                {plain, with(func(i *stream.Info) { i.Batch = 0 })},
		"info.Classes":              {plain, with(func(i *stream.Info) { i.Classes = -1 })},
		"info.Outputs":              {plain, with(func(i *stream.Info) { i.Outputs = 4 })},
		"info.StepsPerTask":         {plain, with(func(i *stream.Info) { i.StepsPerTask = -1 })},
	} {
		l, err := engine.NewLearner(c.learner, c.info, 0)
		require.Nil(t, l, field)
		require.Error(t, err, field)
		require.Equal(t, field, component.FieldErrors(err)[0].Field)
	}
	for _, huge := range []stream.Info{
		with(func(i *stream.Info) { i.Input = tensor.Shape{1 << 20, 1 << 20} }),
		with(func(i *stream.Info) { i.Batch = 1 << 40 }),
		with(func(i *stream.Info) { i.Classes = 1 << 40 }),
		with(func(i *stream.Info) { i.Input = tensor.Shape{0} }),
	} {
		_, err := engine.NewLearner(plain, huge, 0)
		require.Error(t, err)
	}
}
