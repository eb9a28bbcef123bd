package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// A learner with on_divergence: freeze that diverges lives on with the parameters of
// the start of the last step whose loss was finite.

// freezing returns a spec with the learner to be frozen.
func freezing(raw engine.RawSpec) engine.RawSpec {
	raw.Learner = maps.Clone(raw.Learner)
	raw.Learner["on_divergence"] = "freeze"
	return raw
}

// frozenSpecs are runs of three tasks of which the learner diverges: in the first task,
// in a later one because of what it has learned until then, with methods of all kinds
// that remember and edit, and at the end of a task by a weight that no loss shows.
func frozenSpecs() map[string]engine.RawSpec {
	probes := func(more ...map[string]any) []map[string]any {
		return append([]map[string]any{{"kind": "loss"}, {"kind": "loss", "every": 7.0, "as": "windows"}, {"kind": "gradient-norm"},
			{"kind": "gradient-norm", "every": 5.0, "as": "gradients"}, {"kind": "weight-magnitude", "at": "start"},
			{"kind": "update-norm"}, {"kind": "sample-plasticity"}, {"kind": "effective-rank", "samples": 10.0}}, more...)
	}
	bits := func(batch float64) object {
		return object{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 30 * batch, "batch": batch}
	}
	mlp := func(activation string) object {
		return object{"kind": "mlp", "hidden": []any{9.0, 8.0}, "activation": activation}
	}
	all := everything(object{"kind": "mlp", "hidden": []any{7.0, 5.0}})
	all.Learner["optimizer"] = object{"kind": "sgd", "lr": 1000.0}
	all.Learner["methods"] = slices.DeleteFunc(all.Learner["methods"].([]any), func(m any) bool {
		kind := m.(object)["kind"].(string) // what keeps weights within bounds
		return strings.HasSuffix(kind, "clipping") || strings.HasPrefix(kind, "normalize") || kind == "fresh-network"
	})
	return map[string]engine.RawSpec{
		"batch 1": {Stream: bits(1), Learner: object{"network": mlp("relu"), "optimizer": object{"kind": "sgd", "lr": 5.0}}, Probes: probes()},
		"batch 4": {Stream: bits(4), Learner: object{"network": mlp("leaky-relu"), "optimizer": object{"kind": "momentum", "lr": 2.0}}, Probes: probes()},
		"methods": {Stream: object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 24.0, "batch": 2.0}, Learner: object{
			"network": mlp("relu"), "optimizer": object{"kind": "sgd", "lr": 40.0},
			"methods": []any{
				object{"kind": "input-normalizer"}, object{"kind": "experience-replay", "batch": 2.0}, object{"kind": "ewc", "samples": 8.0},
				object{"kind": "continual-backprop", "replacement_rate": 0.05, "maturity": 3.0}, object{"kind": "shrink-and-perturb", "sigma": 0.01},
			},
		}, Probes: probes(map[string]any{"kind": "online-accuracy"}, map[string]any{"kind": "test-accuracy", "samples": 10.0})},
		"everything": all,
	}
}

// bitsOf returns the values of a column by step.
func bitsOf(t *testing.T, r *record, column string) map[int64]float64 {
	t.Helper()
	require.NotEmpty(t, r.rows[column], column)
	out := map[int64]float64{}
	for _, p := range r.rows[column] {
		out[p.step] = float64(math.Float32frombits(p.bits))
	}
	return out
}

// frozenAt returns the step in which the learner diverged.
func frozenAt(t *testing.T, spec *engine.Spec, r *record) int64 {
	t.Helper()
	require.Len(t, r.rows["diverged"], int(spec.Steps()))
	at := slices.IndexFunc(r.rows["diverged"], func(p point) bool { return p.bits != 0 })
	require.GreaterOrEqual(t, at, 0, "it does not diverge")
	for i, p := range r.rows["diverged"] {
		require.Equal(t, i >= at, math.Float32frombits(p.bits) == 1, "step %d", i)
	}
	return int64(at)
}

func TestFrozenLivesGoOn(t *testing.T) {
	for name, raw := range frozenSpecs() {
		t.Run(name, func(t *testing.T) {
			ends := resolve(t, raw)
			spec := resolve(t, freezing(raw))
			whole := live(t, spec, 1)
			at := frozenAt(t, spec, whole)
			require.Positive(t, at)
			require.Less(t, at, spec.Steps()-2)
			require.Len(t, whole.boundaries, spec.Tasks())
			for _, b := range whole.boundaries {
				require.Nil(t, b.Diverged)
				require.NotZero(t, b.State)
			}

			// It is the life that ends, up to there.
			ended, l := newRecord(), newLife(t, ends, 1)
			var d *learner.Diverged
			require.ErrorAs(t, l.Advance(context.Background(), ends.Steps(), ended), &d)
			require.LessOrEqual(t, at, d.Step, "a loss may show it later: %v", d)
			for c, points := range ended.upTo(0, at).rows {
				require.Equal(t, points, whole.upTo(0, at).rows[c], c)
			}

			// What it then measures is of a learner that stays as it is.
			l, r := newLife(t, spec, 1), newRecord()
			require.NoError(t, l.Advance(context.Background(), at+1, r))
			parameters := weights(t, l)
			require.True(t, finite(t, l))
			require.NoError(t, l.Advance(context.Background(), spec.Steps(), r))
			require.Equal(t, parameters, weights(t, l))
			requireSame(t, whole, r, "advanced in two")
			for step, v := range bitsOf(t, whole, "loss") {
				require.False(t, step > at && (math.IsNaN(v) || math.IsInf(v, 0)), "the loss at step %d is %v", step, v)
			}
			for _, column := range []string{"gradient_norm", "largest_gradient"} {
				for _, p := range whole.rows[column] {
					if v := math.Float32frombits(p.bits); p.step >= at+4 {
						require.True(t, v != v, "%s at step %d: no training program runs any more", column, p.step)
					}
				}
			}
			good := at // what the last step with a finite loss started from
			if d.Step == at {
				good--
			}
			before := newLife(t, spec, 1)
			require.NoError(t, before.Advance(context.Background(), good, discard{}))
			require.Equal(t, weights(t, before), parameters)

			// Neither checkpoint nor fork nor instruction set nor pack makes a difference.
			for k := max(at-2, 0); k < min(at+3, spec.Steps()); k++ {
				r, l := newRecord(), newLife(t, spec, 1)
				require.NoError(t, l.Advance(context.Background(), k, r))
				b := save(t, l)
				again := newLife(t, reread(t, canonical(t, spec)), 1)
				require.NoError(t, again.Load(b))
				require.Equal(t, b, save(t, again))
				require.NoError(t, again.Advance(context.Background(), spec.Steps(), r))
				requireSame(t, whole, r, fmt.Sprintf("saved and restored at step %d", k))
				require.Equal(t, parameters, weights(t, again))
			}
			for _, isa := range kernel.Available() {
				restore := kernel.ForceISA(isa)
				requireSame(t, whole, live(t, spec, 1), isa.String())
				restore()
			}
			requireSamePacked(t, spec, 1, 2, 3, 4)

			longer := lengthen(raw, object{"tasks": float64(spec.Tasks() + 1)})
			requireSame(t, whole, live(t, resolve(t, freezing(longer)), 1).upTo(spec.Tasks(), spec.Steps()), "a longer run")
		})
	}
}

// requireSamePacked holds lives in a pack, saved and restored in the middle, against the
// same ones alone.
func requireSamePacked(t *testing.T, spec *engine.Spec, seeds ...uint32) {
	t.Helper()
	build := func() *engine.Pack {
		var specs []*engine.Spec
		var envs []engine.Env
		for _, seed := range seeds {
			specs, envs = append(specs, spec), append(envs, engine.Env{Seed: seed, Data: source})
		}
		p, err := engine.NewPack(specs, envs)
		if err != nil {
			require.ErrorIs(t, err, engine.ErrNotAlike)
			return nil
		}
		return p
	}
	p := build()
	if p == nil {
		return
	}
	var sinks []engine.Sink
	for range seeds {
		sinks = append(sinks, newRecord())
	}
	for until := range spec.Steps() + 1 {
		for _, err := range p.Advance(context.Background(), until, sinks) {
			require.NoError(t, err)
		}
		if until%9 == 4 {
			next := build()
			for i, l := range p.Lives() {
				require.NoError(t, next.Lives()[i].Load(save(t, l)))
			}
			p = next
		}
	}
	for i, seed := range seeds {
		requireSame(t, live(t, spec, seed), sinks[i].(*record), fmt.Sprintf("seed %d in a pack", seed))
	}
}

// A learner that does not diverge is what it is with on_divergence: end.
func TestFreezingChangesNothingOfLearnersThatDoNotDiverge(t *testing.T) {
	for _, s := range subjects() {
		if s.raw.Environment != nil || !strings.HasSuffix(s.name, "in action") && s.name != "everything at once" {
			continue
		}
		spec := resolve(t, freezing(s.raw))
		want, got := live(t, resolve(t, s.raw), 1), live(t, spec, 1)
		for _, p := range got.rows["diverged"] {
			require.Zero(t, p.bits, s.name)
		}
		if want.rows["diverged"] == nil {
			delete(got.rows, "diverged")
		}
		require.Equal(t, want.rows, got.rows, s.name)
		for i, b := range want.boundaries {
			n := len(b.Table)
			require.Equal(t, fmt.Sprint(b.Table), fmt.Sprint(got.boundaries[i].Table[:n]), s.name)
		}
	}
}

// What is deferred is measured of a frozen learner as in its life.
func TestDeferredMeasurementsOfFrozenLives(t *testing.T) {
	for name, raw := range frozenSpecs() {
		if name == "everything" {
			continue
		}
		raw = freezing(raw)
		without, inline, apart := raw, raw, raw
		without.Probes = []map[string]any{{"kind": "loss"}}
		inline.Probes = slices.Concat(without.Probes, []map[string]any{{"kind": "effective-rank", "samples": 10.0}, {"kind": "weight-magnitude", "at": "start"}})
		apart.Probes = slices.Concat(without.Probes, []map[string]any{
			{"kind": "effective-rank", "samples": 10.0, "deferred": true}, {"kind": "weight-magnitude", "at": "start", "deferred": true},
		})
		frozenAt(t, resolve(t, without), live(t, resolve(t, without), 3))
		requireDeferred(t, resolve(t, inline), resolve(t, apart), resolve(t, without))
	}
}

func TestTheProbeOfFrozenLearnersIsAddedOnce(t *testing.T) {
	raw := tiny()
	plain := canonical(t, resolve(t, raw))
	require.NotContains(t, string(plain), "diverge")
	raw.Learner = maps.Clone(raw.Learner)
	raw.Learner["on_divergence"] = "end"
	require.Equal(t, string(plain), string(canonical(t, resolve(t, raw))), "the default is left out")

	spec := resolve(t, freezing(raw))
	require.Equal(t, []string{"loss", "diverged"}, spec.Metrics())
	again := reread(t, canonical(t, spec))
	require.Equal(t, string(canonical(t, spec)), string(canonical(t, again)))
	require.Len(t, raw.Probes, 1, "the caller's list is as it was")

	raw.Probes = []map[string]any{{"kind": "diverged", "every": "task", "as": "frozen"}, {"kind": "loss"}}
	require.Equal(t, []string{"frozen", "loss"}, resolve(t, freezing(raw)).Metrics())
}

func TestFreezingIsRefused(t *testing.T) {
	agent := tiny()
	delete(agent.Learner, "methods")
	world(&agent)
	_, err := engine.Resolve(freezing(agent))
	require.ErrorContains(t, err, `learner.on_divergence: freeze is for learners of a stream; what acts in the environment "gridworld" can only end: leave it out`)

	for _, bad := range []any{"stop", true, 1.0, nil, []any{}} {
		raw := tiny()
		raw.Learner["on_divergence"] = bad
		_, err := engine.Resolve(raw)
		require.ErrorContains(t, err, "learner.on_divergence: must be end or freeze, is", "%v", bad)
	}
	_, err = engine.NewLearner(object{
		"network": object{"kind": "mlp"}, "optimizer": object{"kind": "sgd"}, "on_divergence": "freeze",
	}, stream.Info{Input: tensor.Shape{2}, Outputs: 1, Batch: 1}, 1)
	require.ErrorContains(t, err, "learner.on_divergence: freeze is of a run")

	large := tiny()
	large.Learner["network"] = object{"kind": "mlp", "hidden": []any{20000.0, 20000.0}}
	large.Learner["methods"] = []any{}
	_, err = engine.Resolve(large)
	require.NoError(t, err)
	_, err = engine.Resolve(freezing(large))
	require.ErrorContains(t, err, "learner.network: with 400", "the copies count")
}

// A checkpoint of a frozen life has its copies, all of them finite.
func TestCheckpointsOfFrozenLivesAreFinite(t *testing.T) {
	for name, raw := range frozenSpecs() {
		if name == "everything" { // probes may remember what is not
			continue
		}
		raw = freezing(raw)
		raw.Probes = []map[string]any{{"kind": "loss"}}
		spec := resolve(t, raw)
		at := frozenAt(t, spec, live(t, spec, 1))
		l := newLife(t, spec, 1)
		for k := range min(at+6, spec.Steps()) {
			require.NoError(t, l.Advance(context.Background(), k+1, discard{}))
			f, err := safetensors.Decode(save(t, l))
			require.NoError(t, err)
			copies := 0
			for _, x := range f.Tensors {
				if strings.Contains(x.Name, "/freeze/good/") {
					copies++
				}
				for i := 0; x.DType == "F32" && i < len(x.Data); i += 4 {
					if v := math.Float32frombits(binary.LittleEndian.Uint32(x.Data[i:])); v-v != 0 {
						t.Fatalf("%s: %s after step %d has %v", name, x.Name, k, v)
					}
				}
			}
			require.Positive(t, copies)
		}
	}
}

// In a pack some freeze, and the others learn on.
func TestAPackGoesOnWithoutItsFrozenLives(t *testing.T) {
	var specs []*engine.Spec
	var envs []engine.Env
	var sinks []engine.Sink
	for _, lr := range []float64{0.01, 30, 0.02, 1000} {
		raw := tiny()
		raw.Learner = object{"network": object{"kind": "mlp", "hidden": []any{5.0, 5.0}}, "optimizer": object{"kind": "momentum", "lr": lr}}
		raw.Probes = append(raw.Probes, object{"kind": "weight-magnitude", "every": 5.0}, object{"kind": "loss", "as": "each"})
		specs = append(specs, resolve(t, freezing(raw)))
		envs, sinks = append(envs, engine.Env{Seed: 7, Data: source}), append(sinks, newRecord())
	}
	p, err := engine.NewPack(specs, envs)
	require.NoError(t, err)
	for _, until := range []int64{3, 11, 20, 41, specs[0].Steps()} {
		for _, err := range p.Advance(context.Background(), until, sinks) {
			require.NoError(t, err)
		}
	}
	frozen := 0
	for i, spec := range specs {
		r := sinks[i].(*record)
		requireSame(t, live(t, spec, 7), r, "in a pack")
		if slices.ContainsFunc(r.rows["diverged"], func(p point) bool { return p.bits != 0 }) {
			frozen++
			frozenAt(t, spec, r)
		}
	}
	require.Equal(t, 2, frozen)
}

// A probe may be the first to see that the learner has diverged, before the first step
// of a task, too.
func TestProbesThatSeeDivergenceAtTheStartOfATask(t *testing.T) {
	raw := tiny()
	delete(raw.Learner, "methods")
	raw.Probes = []map[string]any{{"kind": "loss"}, {"kind": "effective-rank", "samples": 8.0, "at": "start"}}
	huge := func(spec *engine.Spec) *engine.Life {
		l := newLife(t, spec, 1)
		b, err := l.Artifact(engine.Weights)
		require.NoError(t, err)
		f, err := safetensors.Decode(b)
		require.NoError(t, err)
		for _, x := range f.Tensors {
			for i := 0; i < len(x.Data); i += 4 {
				binary.LittleEndian.PutUint32(x.Data[i:], math.Float32bits(3e38))
			}
		}
		var buf bytes.Buffer
		require.NoError(t, safetensors.Encode(&buf, f))
		require.NoError(t, l.SetWeights(buf.Bytes()))
		return l
	}

	ends, r := resolve(t, raw), newRecord()
	var d *learner.Diverged
	require.ErrorAs(t, huge(ends).Advance(context.Background(), ends.Steps(), r), &d)
	require.Regexp(t, `^step 0 \(task 0\): probes\[1\]: layer hidden1: `, d.Error())
	require.Len(t, r.boundaries, 1)
	require.Equal(t, d, r.boundaries[0].Diverged)

	freezes, r := resolve(t, freezing(raw)), newRecord()
	require.NoError(t, huge(freezes).Advance(context.Background(), freezes.Steps(), r))
	require.Zero(t, frozenAt(t, freezes, r))
	ranks := bitsOf(t, r, "effective_rank")
	require.True(t, math.IsNaN(ranks[0]))
	require.Positive(t, ranks[20], "of the state before")
}
