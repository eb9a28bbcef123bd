package engine_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/safetensors"
)

// measureDeferred measures what a spec defers after the given number of steps of a
// run, from a checkpoint that the run's life has written there.
func measureDeferred(t testing.TB, spec *engine.Spec, seed uint32, step int64, r *record) {
	t.Helper()
	env := engine.Env{Seed: seed, Data: source}
	a, err := engine.NewDeferred(spec, env)
	require.NoError(t, err)
	if step > 0 {
		l := newLife(t, spec, seed)
		require.NoError(t, l.Advance(context.Background(), step, discard{}))
		require.NoError(t, a.Load(save(t, l)))
	}
	require.Equal(t, step, a.Step())
	require.ErrorIs(t, a.Advance(cancelled(), step+1, r), context.Canceled)
	require.NoError(t, a.Advance(context.Background(), step+1, r))
	require.Equal(t, step+1, a.Step())
	require.Error(t, a.Advance(context.Background(), step+2, r), "it is one step")
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// forks are the steps at which a spec's measurements are deferred to, from the
// definition: k is measured from where the step k is still to come.
func forks(spec *engine.Spec) (list []int64) {
	for k := range spec.Steps() {
		task, per := int(k/spec.StepsPerTask()), spec.StepsPerTask()
		for _, a := range spec.Deferred() {
			if a.Start && k%per == 0 && task%a.Every == 0 || !a.Start && k%per == per-1 && (task+1)%a.Every == 0 {
				list = append(list, k)
				break
			}
		}
	}
	return list
}

// TestDeferred holds every probe that can be deferred against itself in the
// run's life, under learners whose methods act on the boundary that it is measured
// before, with state, resets and rebirths, and as an agent in an environment. The
// life with deferred probes is, to the bit and in its checkpoints, that without them.
func TestDeferred(t *testing.T) {
	plain := func() engine.RawSpec {
		return engine.RawSpec{
			Stream:  object{"kind": "permuted", "tasks": 5.0, "examples_per_task": 24.0, "batch": 2.0},
			Learner: object{"network": object{"kind": "mlp", "hidden": []any{7.0, 5.0}}, "optimizer": object{"kind": "adam", "lr": 0.01}},
		}
	}
	methods := func(list ...any) engine.RawSpec {
		raw := plain()
		raw.Learner["methods"] = list
		return raw
	}
	agent := engine.RawSpec{Learner: plain().Learner}
	world(&agent)
	agent.Environment["tasks"] = 5.0
	all := everything(object{"kind": "cnn", "hidden": []any{5.0}, "norm": "batch", "dropout": 0.2,
		"convolutions": []any{object{"channels": 2.0, "kernel": 5.0, "stride": 3.0, "pool": 2.0}}})
	all.Stream["tasks"] = 4.0
	single := plain()
	single.Stream["examples_per_task"] = 2.0 // a task of one step
	subjects := map[string]engine.RawSpec{
		"plain":               plain(),
		"one step a task":     single,
		"fresh network":       methods(object{"kind": "fresh-network"}),
		"ewc":                 methods(object{"kind": "ewc", "lambda": 1.0, "samples": 10.0}),
		"last layer reset":    methods(object{"kind": "last-layer-reset"}),
		"an agent":            agent,
		"everything together": all,
	}
	for name, raw := range subjects {
		t.Run(name, func(t *testing.T) {
			var probes []map[string]any
			for _, doc := range component.All() {
				p := object{"kind": doc.Name}
				if doc.Kind != "probe" || raw.Environment != nil && slices.Contains(doc.Needs, component.Stream) {
					continue
				}
				limitSamples(doc, p)
				p["deferred"] = true
				alone := raw
				alone.Probes = []map[string]any{p}
				if _, err := engine.Resolve(alone); err == nil {
					probes = append(probes, p)
				}
			}
			require.NotEmpty(t, probes)
			for _, when := range []object{{}, {"every": "2 tasks"}, {"every": "2 tasks", "at": "start"}} {
				inline, apart := raw, raw
				apart.Probes = slices.Clone(raw.Probes)
				if raw.Probes == nil {
					apart.Probes = []map[string]any{{"kind": "loss"}, {"kind": "update-norm"}}
				}
				// What the whole has inline already is not measured twice.
				apart.Probes = slices.DeleteFunc(apart.Probes, func(p map[string]any) bool {
					return slices.ContainsFunc(probes, func(a map[string]any) bool { return a["kind"] == p["kind"] })
				})
				without := apart
				inline.Probes = slices.Clone(apart.Probes)
				apart.Probes = slices.Clone(apart.Probes)
				for _, p := range probes {
					p = maps.Clone(p)
					maps.Copy(p, when)
					apart.Probes = append(apart.Probes, p)
					p = maps.Clone(p)
					delete(p, "deferred")
					inline.Probes = append(inline.Probes, p)
				}
				requireDeferred(t, resolve(t, inline), resolve(t, apart), resolve(t, without))
			}
		})
	}
}

func requireDeferred(t *testing.T, inline, apart, without *engine.Spec) {
	t.Helper()
	want, main := live(t, inline, 3), live(t, without, 3)
	requireSame(t, main, live(t, apart, 3), "the life beside which is measured")
	a, b := newLife(t, apart, 3), newLife(t, without, 3)
	require.NoError(t, a.Advance(context.Background(), 3, discard{}))
	require.NoError(t, b.Advance(context.Background(), 3, discard{}))
	require.Equal(t, save(t, b), save(t, a), "checkpoints")

	again := reread(t, canonical(t, apart))
	require.Equal(t, string(canonical(t, apart)), string(canonical(t, again)))
	got := newRecord()
	at := forks(apart)
	require.NotEmpty(t, at)
	for _, k := range at {
		measureDeferred(t, again, 3, k, got)
	}
	require.Len(t, got.boundaries, len(at))
	seen := 0
	for c, points := range want.rows {
		if main.rows[c] != nil {
			require.Equal(t, main.rows[c], points)
			continue
		}
		seen++
		require.Equal(t, points, got.rows[c], c)
	}
	require.Len(t, got.rows, seen)
	require.NotZero(t, seen)

	m, err := engine.NewDeferred(apart, engine.Env{Seed: 3, Data: source})
	require.NoError(t, err)
	column := map[string]int{}
	for i, c := range newLife(t, inline, 3).Columns() {
		column[c.String()] = i
	}
	for i, c := range m.Columns() {
		values := map[int]float64{} // by task; a task's start and end are measured apart
		for _, b := range got.boundaries {
			if v := b.Table[i]; v == v {
				values[b.Task] = v
			}
		}
		for task, b := range want.boundaries {
			v, ok := values[task]
			if !ok {
				v = math.NaN()
			}
			require.Equal(t, fmt.Sprint(b.Table[column[c.String()]]), fmt.Sprint(v), "%s in the table of task %d", c, task)
		}
	}
}

// What cannot be measured from a checkpoint is refused, and for no other reason
// than the ones given.
func TestDeferredIsRefused(t *testing.T) {
	refused := map[string][]string{}
	for _, doc := range component.All() {
		if doc.Kind != "probe" {
			continue
		}
		p := object{"kind": doc.Name}
		limitSamples(doc, p)
		raw := specOf(doc, p)
		raw.Probes = []map[string]any{p}
		spec := resolve(t, raw)
		p["deferred"] = true
		_, err := engine.Resolve(raw)
		if err == nil {
			continue
		}
		r, l := newRecord(), newLife(t, spec, 1)
		require.NoError(t, l.Advance(context.Background(), spec.Steps(), r))
		f, ferr := safetensors.Decode(save(t, l))
		require.NoError(t, ferr)
		remembers := slices.ContainsFunc(f.Tensors, func(x safetensors.Tensor) bool { return strings.HasPrefix(x.Name, "probe/") })
		switch {
		case strings.Contains(err.Error(), "probes[0].deferred: "+doc.Name+" measures training steps"):
			require.Len(t, slices.Collect(maps.Values(r.rows))[0], int(spec.Steps()), doc.Name)
			refused["steps"] = append(refused["steps"], doc.Name)
		case strings.Contains(err.Error(), "probes[0].deferred: "+doc.Name+" remembers"):
			require.True(t, remembers, "%s has no variables", doc.Name)
			refused["remembers"] = append(refused["remembers"], doc.Name)
		default:
			t.Errorf("%s: %v", doc.Name, err)
		}
	}
	require.Contains(t, refused["steps"], "online-accuracy")
	require.Contains(t, refused["remembers"], "accuracy-matrix")
	require.Contains(t, refused["remembers"], "example-forgetting")

	for problem, p := range map[string]map[string]any{
		"probes[0].deferred: must be true or false, is a string":                                   {"kind": "curvature", "deferred": "yes"},
		"probes[0].deferred: is for at most one measurement a task, not one every 7 steps":         {"kind": "curvature", "deferred": true, "every": 7.0},
		`probes[0].every: must be step, task, a number of steps, or of tasks as in "10 tasks", is`: {"kind": "curvature", "deferred": true, "every": "0 tasks"},
		"probes[0].deferred: 20000 measurements are more than the 10000 that a run may defer":      {"kind": "curvature", "deferred": true},
	} {
		raw := tiny()
		raw.Stream["tasks"] = 20000.0
		raw.Probes = []map[string]any{p}
		_, err := engine.Resolve(raw)
		require.ErrorContains(t, err, problem)
	}
}

// Files from before the parameter had its name have runs of the same identity.
func TestDeferredUnderItsFormerName(t *testing.T) {
	raw := func(parameters object) engine.RawSpec {
		p := object{"kind": "effective-rank"}
		maps.Copy(p, parameters)
		return engine.RawSpec{
			Stream:  object{"kind": "bit-flip-regression"},
			Learner: object{"network": object{"kind": "mlp"}, "optimizer": object{"kind": "sgd"}},
			Probes:  []map[string]any{p},
		}
	}
	of := func(parameters object) string { return string(canonical(t, resolve(t, raw(parameters)))) }
	now := of(object{"deferred": true})
	require.Equal(t, now, of(object{"aside": true}))
	require.Contains(t, now, `"aside":true`, "run keys are what they were")
	require.NotEqual(t, now, of(object{"deferred": false}))

	_, err := engine.Resolve(raw(object{"aside": true, "deferred": true}))
	require.ErrorContains(t, err, "probes[0].aside: is the former name of deferred, which is given, too")
}
