package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/safetensors"
)

// The conformance suite runs on everything that is registered: a component
// that lands later is under test without a word here; a method says in its
// registration what makes it inert and what makes it act.

type object = map[string]any

// source has 600 images of noise under the names of all datasets, so that lives
// over them take milliseconds.
var source = func() data.Source {
	s := data.Static{}
	for _, meta := range data.Catalogue() {
		const n = 600
		size := meta.Size()
		if meta.Floats {
			continue // the streams' own tests show these
		}
		d := &data.Dataset{Meta: meta, TrainSplit: data.Split{N: n, X: make([]uint8, n*size), Y: make([]uint8, n)}}
		key := rng.New(0, meta.Name)
		for i := range d.TrainSplit.X {
			if w := key.Uint32(uint64(i), 0); w%5 == 0 { // dark for the most part
				d.TrainSplit.X[i] = uint8(w >> 8)
			}
		}
		for i := range d.TrainSplit.Y {
			d.TrainSplit.Y[i] = uint8(i % meta.Classes)
		}
		d.TestSplit = data.Split{N: n / 6, X: d.TrainSplit.X[:n/6*size], Y: d.TrainSplit.Y[:n/6]}
		s[meta.Name] = d
	}
	return s
}()

// subject is a spec that brings one component to life.
type subject struct {
	name string
	raw  engine.RawSpec
}

// subjects returns a small spec for every registered component: its defaults,
// each of its presets, and what else makes a difference.
func subjects() []subject {
	var all []subject
	for _, doc := range component.All() {
		if doc.Kind == "analysis" {
			continue // of artifacts, not part of a life
		}
		for _, preset := range append([]string{""}, slices.Sorted(maps.Keys(doc.Presets))...) {
			c := object{"kind": doc.Name}
			name := doc.Kind + " " + doc.Name
			if preset != "" {
				c["preset"] = preset
				name += "/" + preset
			}
			switch doc.Kind {
			case "probe":
				limitSamples(doc, c)
				for _, every := range []any{nil, 7.0, "task"} {
					p := maps.Clone(c)
					if every != nil {
						p["every"] = every
						p["reduce"] = "max"
					}
					all = append(all, subject{fmt.Sprintf("%s every %v", name, every), specOf(doc, p)})
				}
			default:
				all = append(all, subject{name, specOf(doc, c)})
			}
		}
		if doc.Kind == "method" {
			c := with(doc, doc.Trial.Lively)
			raw := specOf(doc, c)
			raw.Learner["optimizer"] = object{"kind": "adam", "lr": 0.01}
			all = append(all, subject{"method " + doc.Name + " in action", raw})
		}
	}
	return append(all,
		subject{"everything at once", everything(object{"kind": "mlp", "hidden": []any{7.0, 5.0}})},
		subject{"everything at once on channels with two outputs", everything(object{
			"kind": "cnn", "hidden": []any{5.0}, "activation": "crelu", "norm": "batch", "dropout": 0.2,
			"convolutions": []any{object{"channels": 2.0, "kernel": 5.0, "stride": 3.0, "pool": 2.0}},
		})},
		subject{"everything at once on a sequence", everything(object{"kind": "lstm", "hidden": []any{4.0, 3.0}})},
	)
}

// everything is a spec with every method, one of them twice, and every probe.
func everything(network object) engine.RawSpec {
	raw := engine.RawSpec{
		Stream: object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 24.0, "batch": 2.0},
		Learner: object{
			"network":   network,
			"optimizer": object{"kind": "adam", "lr": 0.01},
		},
	}
	list := []any{object{"kind": "l2"}}
	for _, doc := range component.All() {
		c := object{"kind": doc.Name}
		switch doc.Kind {
		case "method":
			if !doc.Trial.Alone && doc.Trial.Network == nil && doc.Trial.Stream == nil {
				list = append(list, with(doc, doc.Trial.Lively))
			}
		case "probe":
			if slices.Contains(doc.Needs, component.Environment) {
				continue
			}
			limitSamples(doc, c)
			raw.Probes = append(raw.Probes, c)
		}
	}
	raw.Probes = append(raw.Probes, object{"kind": "gradient-norm", "as": "largest_gradient", "every": 4.0, "reduce": "max"})
	raw.Learner["methods"] = list
	return raw
}

// specOf returns a small spec in which c, an object of the documented
// component, takes its part.
func specOf(doc component.Doc, c object) engine.RawSpec {
	raw := engine.RawSpec{
		Stream: object{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 24.0, "batch": 2.0},
		Learner: object{
			"network":   object{"kind": "mlp", "hidden": []any{7.0, 5.0}},
			"optimizer": object{"kind": "sgd", "lr": 0.02},
		},
		Probes: []map[string]any{{"kind": "loss"}, {"kind": "weight-magnitude", "every": 5.0}},
	}
	if slices.Contains(doc.Needs, component.Classification) || slices.Contains(doc.Needs, component.Images) {
		raw.Stream = object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 24.0, "batch": 2.0}
	}
	surround(&raw, doc.Trial)
	if slices.Contains(doc.Needs, component.Environment) {
		world(&raw)
	}
	switch doc.Kind {
	case "environment":
		world(&raw)
		raw.Environment = c
		shrink(doc, c, 8)
	case "learner":
		maps.Copy(raw.Learner, c)
		maps.Copy(raw.Learner, doc.Trial.Learner)
		if !slices.Contains(doc.Needs, component.Core) {
			delete(raw.Learner, "network")
			delete(raw.Learner, "optimizer")
			raw.Probes = slices.DeleteFunc(raw.Probes, func(p map[string]any) bool {
				return slices.Contains(docOf("probe", p["kind"]).Needs, component.Core)
			})
		}
	case "stream":
		raw.Stream = c
		shrink(doc, c, 8)
	case "network":
		narrow(doc, c)
		raw.Learner["network"] = c
	case "rule", "optimizer":
		raw.Learner[doc.Kind] = c
	case "activation", "init":
		raw.Learner["network"].(object)[doc.Kind] = c
		raw.Learner["optimizer"] = object{"kind": "sgd", "lr": 1e-4} // polynomials diverge soon
		raw.Stream["examples_per_task"] = 6.0
	case "method":
		raw.Learner["methods"] = []any{c}
	case "probe":
		raw.Probes = slices.DeleteFunc(raw.Probes, func(p map[string]any) bool { return p["kind"] == c["kind"] })
		raw.Probes = append(raw.Probes, c)
	default:
		panic("the conformance suite does not know components of kind " + doc.Kind)
	}
	return raw
}

// docOf returns the documentation of a registered component.
func docOf(kind string, name any) component.Doc {
	for _, doc := range component.All() {
		if doc.Kind == kind && doc.Name == name {
			return doc
		}
	}
	panic(fmt.Sprintf("no %s is called %v", kind, name))
}

// world makes an agent in an environment of a spec.
func world(raw *engine.RawSpec) {
	raw.Stream = nil
	raw.Environment = object{"kind": "gridworld", "tasks": 3.0, "steps_per_task": 24.0, "size": 3.0, "limit": 5.0}
	for _, doc := range component.All() {
		if doc.Kind == "learner" && slices.Contains(doc.Needs, component.Environment) {
			raw.Learner["kind"] = doc.Name
			maps.Copy(raw.Learner, doc.Trial.Learner)
			return
		}
	}
	panic("no learner acts in an environment")
}

// lengthen changes how long a spec's tasks are, and how many.
func lengthen(raw engine.RawSpec, parameters object) engine.RawSpec {
	if raw.Environment != nil {
		raw.Environment = maps.Clone(raw.Environment)
		maps.Copy(raw.Environment, parameters)
		return raw
	}
	raw.Stream = maps.Clone(raw.Stream)
	maps.Copy(raw.Stream, parameters)
	return raw
}

// surround puts in what a component is to be tried with.
func surround(raw *engine.RawSpec, t component.Trial) {
	if t.Stream != nil {
		raw.Stream = maps.Clone(t.Stream)
	}
	if t.Network != nil {
		raw.Learner["network"] = maps.Clone(t.Network)
	}
	if t.Optimizer != nil {
		raw.Learner["optimizer"] = maps.Clone(t.Optimizer)
	}
	if t.Environment != nil {
		raw.Stream, raw.Environment = nil, maps.Clone(t.Environment)
	}
}

// with returns the object of a component with the given parameters.
func with(doc component.Doc, parameters object) object {
	c := object{"kind": doc.Name}
	maps.Copy(c, parameters)
	return c
}

// parameters returns a component's parameters with the values that an object
// of it starts from.
func parameters(doc component.Doc, c object) object {
	raw := doc.Defaults
	if preset, ok := c["preset"].(string); ok {
		raw = doc.Presets[preset]
	}
	p := object{}
	if err := json.Unmarshal(raw, &p); err != nil {
		panic(err)
	}
	return p
}

func limitSamples(doc component.Doc, c object) {
	if _, ok := parameters(doc, c)["samples"]; ok {
		c["samples"] = 16.0
	}
}

// narrow cuts a network down to layers of a few units.
func narrow(doc component.Doc, c object) {
	p := parameters(doc, c)
	for name, value := range map[string]float64{"width": 4, "hidden_width": 6} {
		if _, ok := p[name]; ok {
			c[name] = value
		}
	}
	for name, most := range map[string]float64{"hidden": 7, "blocks": 1} {
		if list, ok := p[name].([]any); ok {
			small := []any{}
			if name == "blocks" {
				list = list[:min(len(list), 2)]
			}
			for i, n := range list {
				small = append(small, math.Max(min(n.(float64), most)-float64(i), 1))
			}
			c[name] = small
		}
	}
	if list, ok := p["convolutions"].([]any); ok {
		small := []any{}
		for i, x := range list {
			conv := maps.Clone(x.(object))
			conv["channels"], conv["padding"] = 2.0, 2.0
			if i == 0 {
				conv["stride"] = 2.0
			}
			small = append(small, conv)
		}
		c["convolutions"] = small
	}
}

// shrink cuts a stream to three tasks of about the given steps.
func shrink(doc component.Doc, c object, steps float64) {
	p := parameters(doc, c)
	batch, _ := p["batch"].(float64)
	for name, value := range map[string]float64{
		"tasks": 3, "examples_per_task": batch * steps, "examples": batch * 2, "examples_per_class": batch, "subset": 100,
		"epochs": math.Ceil(steps / 2), "steps_per_task": 3 * steps,
	} {
		if have, ok := p[name]; ok && have != 0.0 {
			c[name] = value
		}
	}
	if _, ok := p["of"]; ok { // another stream's tasks
		c["of"] = object{"kind": "permuted", "examples_per_task": 2 * steps, "batch": 2.0}
	}
	if _, ok := p["remove"]; ok { // whole passes over a dataset
		c["batch"], c["subset"] = 2.0, 2*steps
	}
}

// record is what a life gave off.
type record struct {
	rows       map[string][]point
	boundaries []engine.Boundary
}

type point struct {
	step int64
	bits uint32
}

func newRecord() *record { return &record{rows: map[string][]point{}} }

func (r *record) Rows(rows engine.Rows) error {
	for _, s := range rows.Series {
		for i, v := range s.Values {
			step := rows.First + int64(i)
			if s.Offsets != nil {
				step = rows.First + int64(s.Offsets[i])
			}
			if step < rows.First || step >= rows.First+rows.N {
				return fmt.Errorf("a value of step %d in the rows of steps %d to %d", step, rows.First, rows.First+rows.N)
			}
			r.rows[s.String()] = append(r.rows[s.String()], point{step, math.Float32bits(v)})
		}
	}
	return nil
}

func (r *record) Boundary(b engine.Boundary) error {
	b.Table = slices.Clone(b.Table)
	r.boundaries = append(r.boundaries, b)
	return nil
}

// upTo returns the record of the first tasks.
func (r *record) upTo(tasks int, step int64) *record {
	out := newRecord()
	out.boundaries = r.boundaries[:tasks]
	for c, points := range r.rows {
		for _, p := range points {
			if p.step < step {
				out.rows[c] = append(out.rows[c], p)
			}
		}
	}
	return out
}

func requireSame(t *testing.T, want, got *record, what string) {
	t.Helper()
	require.Equal(t, want.rows, got.rows, "%s: rows", what)
	require.Equal(t, fmt.Sprintf("%+v", want.boundaries), fmt.Sprintf("%+v", got.boundaries), "%s: boundaries", what) // NaN equals NaN
}

func resolve(t testing.TB, raw engine.RawSpec) *engine.Spec {
	t.Helper()
	spec, err := engine.Resolve(raw)
	require.NoError(t, err)
	return spec
}

func newLife(t testing.TB, spec *engine.Spec, seed uint32) *engine.Life {
	t.Helper()
	l, err := engine.New(spec, engine.Env{Seed: seed, Data: source})
	require.NoError(t, err)
	return l
}

// live lives a whole life, stopping at the given steps on the way.
func live(t testing.TB, spec *engine.Spec, seed uint32, stops ...int64) *record {
	t.Helper()
	r := newRecord()
	l := newLife(t, spec, seed)
	for _, stop := range append(stops, spec.Steps()) {
		require.NoError(t, l.Advance(context.Background(), stop, r))
		require.Equal(t, stop, l.Step())
	}
	return r
}

func save(t testing.TB, l *engine.Life) []byte {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, l.Save(&buf))
	return buf.Bytes()
}

// weights returns the network's parameters.
func weights(t testing.TB, l *engine.Life) map[string][]byte {
	t.Helper()
	f, err := safetensors.Decode(save(t, l))
	require.NoError(t, err)
	w := map[string][]byte{}
	for _, x := range f.Tensors {
		if strings.HasPrefix(x.Name, "net/") {
			w[x.Name] = x.Data
		}
	}
	require.NotEmpty(t, w)
	return w
}

func canonical(t testing.TB, spec *engine.Spec) []byte {
	t.Helper()
	b, err := json.Marshal(spec.Canonical())
	require.NoError(t, err)
	return b
}

// reread resolves a spec from its canonical JSON, as a worker does.
func reread(t testing.TB, canonicalJSON []byte) *engine.Spec {
	t.Helper()
	var doc struct {
		Stream, Environment, Learner map[string]any
		Probes                       []map[string]any
	}
	require.NoError(t, json.Unmarshal(canonicalJSON, &doc))
	return resolve(t, engine.RawSpec(doc))
}

func TestConformance(t *testing.T) {
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			spec := resolve(t, s.raw)
			full := live(t, spec, 1)
			require.Len(t, full.boundaries, spec.Tasks())
			for i, b := range full.boundaries {
				require.Equal(t, i, b.Task)
				require.Equal(t, int64(i+1)*spec.StepsPerTask(), b.Step)
			}

			requireSame(t, full, live(t, spec, 1), "the same seed again")
			again := reread(t, canonical(t, spec))
			require.Equal(t, string(canonical(t, spec)), string(canonical(t, again)), "canonical JSON of canonical JSON")
			requireSame(t, full, live(t, again, 1), "read back from canonical JSON")

			other := live(t, spec, 2)
			for i := range full.boundaries {
				require.NotEqual(t, full.boundaries[i].State, other.boundaries[i].State, "another seed, the same state after task %d", i)
				require.NotEqual(t, full.boundaries[i].Rows, other.boundaries[i].Rows, "another seed, the same rows of task %d", i)
			}

			var every []int64
			for k := range spec.Steps() {
				every = append(every, k)
			}
			requireSame(t, full, live(t, spec, 1, every...), "advanced step by step")

			per := spec.StepsPerTask()
			cuts := slices.Compact([]int64{0, 1, per / 2, per, per + 1, 2*per - 1, spec.Steps() - 1})
			if strings.HasSuffix(s.name, "in action") { // has state that comes and goes
				cuts = every
			}
			for _, k := range cuts {
				r := newRecord()
				l := newLife(t, spec, 1)
				require.NoError(t, l.Advance(context.Background(), k, r))
				b := save(t, l)
				l = newLife(t, spec, 1)
				require.NoError(t, l.Load(b))
				require.Equal(t, k, l.Step())
				require.Equal(t, b, save(t, l), "a checkpoint of a restored life is the same file")
				require.NoError(t, l.Advance(context.Background(), spec.Steps(), r))
				requireSame(t, full, r, fmt.Sprintf("saved and restored at step %d", k))
			}

			longer := lengthen(s.raw, object{"tasks": float64(spec.Tasks() + 2)})
			requireSame(t, full, live(t, resolve(t, longer), 1).upTo(spec.Tasks(), spec.Steps()), "a longer run")
		})
	}
}

func TestStepsDoNotAllocate(t *testing.T) {
	const warmUp, runs, stride = 40, 12, 10
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			raw := lengthen(s.raw, nil)
			if raw.Environment != nil {
				raw.Environment["steps_per_task"] = float64(warmUp + (runs+2)*stride)
			}
			for _, doc := range component.All() {
				if doc.Kind == "stream" && doc.Name == raw.Stream["kind"] {
					delete(raw.Stream, "batch")
					shrink(doc, raw.Stream, warmUp+(runs+2)*stride)
				}
			}
			if strings.HasPrefix(s.name, "network ") || strings.HasPrefix(s.name, "everything") { // some normalise batches
				raw.Stream["batch"], raw.Stream["examples_per_task"] = 2.0, 2.0*(warmUp+(runs+2)*stride)
			}
			spec := resolve(t, raw)
			l := newLife(t, spec, 1)
			require.NoError(t, l.Advance(context.Background(), warmUp, discard{}))
			require.Zero(t, testing.AllocsPerRun(runs, func() {
				if err := l.Advance(context.Background(), l.Step()+stride, discard{}); err != nil {
					t.Fatal(err)
				}
			}))
			require.Less(t, l.Step(), spec.StepsPerTask(), "the steps must lie within a task")
		})
	}
}

type discard struct{}

func (discard) Rows(engine.Rows) error         { return nil }
func (discard) Boundary(engine.Boundary) error { return nil }

// TestMethodsAtInertSettingsArePlainLearners compares networks and rows; a
// method's own variables may differ.
func TestMethodsAtInertSettingsArePlainLearners(t *testing.T) {
	for _, doc := range component.All() {
		if doc.Kind != "method" {
			continue
		}
		trial := doc.Trial
		require.True(t, trial.Inert != nil && trial.Lively != nil, "method %s: say in its registration's Trial which settings are inert and which act", doc.Name)
		kind := "bit-flip-regression"
		if slices.Contains(doc.Needs, component.Classification) {
			kind = "permuted"
		}
		for _, optimizer := range []string{"sgd", "momentum", "adam", "adamw"} {
			run := func(methods ...any) (map[string][]byte, map[string][]point) {
				raw := engine.RawSpec{
					Stream: object{"kind": kind, "tasks": 3.0, "examples_per_task": 40.0, "batch": 2.0},
					Learner: object{
						"network": object{"kind": "mlp", "hidden": []any{8.0, 6.0}},
						"methods": methods,
					},
					Probes: []map[string]any{{"kind": "loss"}, {"kind": "weight-magnitude"}},
				}
				surround(&raw, trial)
				raw.Learner["optimizer"] = object{"kind": optimizer}
				spec := resolve(t, raw)
				l, r := newLife(t, spec, 5), newRecord()
				require.NoError(t, l.Advance(context.Background(), spec.Steps(), r))
				return weights(t, l), r.rows
			}
			plain, plainRows := run()
			for _, setting := range trial.Inert {
				w, rows := run(with(doc, setting))
				for name, value := range plain { // a method may bring parameters of its own
					require.Equal(t, value, w[name], "%s %v with %s: %s", doc.Name, setting, optimizer, name)
				}
				require.Equal(t, plainRows, rows, "%s %v with %s", doc.Name, setting, optimizer)
			}
			w, rows := run(with(doc, trial.Lively))
			if slices.Contains(trial.Idle, optimizer) {
				require.Equal(t, plain, w, "%s with %s does something", doc.Name, optimizer)
				continue
			}
			require.False(t, maps.EqualFunc(plain, w, bytes.Equal) && fmt.Sprint(plainRows) == fmt.Sprint(rows),
				"%s %v with %s does nothing", doc.Name, trial.Lively, optimizer)
		}
	}
}

func TestEverythingIsDocumented(t *testing.T) {
	kinds := map[string]int{}
	for _, doc := range component.All() {
		kinds[doc.Kind]++
		name := doc.Kind + " " + doc.Name
		require.NotEmpty(t, doc.Summary, name)
		require.NotContains(t, doc.Summary, "\n", name)
		require.False(t, strings.HasSuffix(doc.Summary, "."), "%s: a summary is one line without a full stop", name)
		if doc.Kind == "method" || doc.Kind == "stream" {
			require.NotEmpty(t, doc.Paper, name)
		}
		var schema struct {
			Properties map[string]struct {
				Description string
				Const       any
				Default     any
			}
		}
		require.NoError(t, json.Unmarshal(doc.Schema, &schema), name)
		for p, s := range schema.Properties {
			require.True(t, s.Description != "" || s.Const != nil, "%s: parameter %s", name, p)
			if s.Const == nil && p != "preset" {
				require.NotNil(t, s.Default, "%s: parameter %s has no default", name, p)
			}
		}
		for p := range parameters(doc, object{}) {
			require.Contains(t, schema.Properties, p, name)
		}
	}
	for _, kind := range []string{"stream", "network", "rule", "optimizer", "method", "probe"} {
		require.NotZero(t, kinds[kind], "no %s is registered", kind)
	}
	for _, name := range []string{"online-accuracy", "loss", "dormant-units", "dead-units", "effective-rank", "stable-rank", "srank99", "weight-magnitude", "gradient-norm"} {
		spec := resolve(t, engine.RawSpec{
			Stream:  object{"kind": "permuted"},
			Learner: object{"network": object{"kind": "mlp"}, "optimizer": object{"kind": "sgd"}},
			Probes:  []map[string]any{{"kind": name}},
		})
		require.Equal(t, []string{strings.ReplaceAll(name, "-", "_")}, spec.Metrics(), "a probe's metric is its name in snake_case")
	}
}

// TestOneFilePerComponent reads the sources: file x_y.go of streams, probes and
// methods, or of a package below, registers the component x-y and nothing else. A
// package's own file holds what components share.
func TestOneFilePerComponent(t *testing.T) {
	for folder, kind := range map[string]string{"streams": "stream", "environments": "environment", "learners": "learner", "probes": "probe", "methods": "method"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		require.NoError(t, err)
		below, err := filepath.Glob(filepath.Join(folder, "*", "*.go"))
		require.NoError(t, err)
		var found []string
		for _, file := range append(files, below...) {
			base := strings.TrimSuffix(filepath.Base(file), ".go")
			if strings.HasSuffix(base, "_test") {
				continue
			}
			names := registeredIn(t, file, kind)
			if base == filepath.Base(filepath.Dir(file)) {
				require.Empty(t, names, "%s holds what components share", file)
				continue
			}
			require.Equal(t, []string{strings.ReplaceAll(base, "_", "-")}, names, "%s registers the component of its name only", file)
			found = append(found, names...)
		}
		var registered []string
		for _, doc := range component.All() {
			if doc.Kind == kind {
				registered = append(registered, doc.Name)
			}
		}
		require.ElementsMatch(t, registered, found, "what is registered comes from the files in %s", folder)
	}
}

// registeredIn returns the Name fields inside calls of Register of the package.
func registeredIn(t *testing.T, file, pkg string) []string {
	t.Helper()
	src, err := os.ReadFile(file)
	require.NoError(t, err)
	tree, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Register" {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || x.Name != pkg {
			return true
		}
		ast.Inspect(call.Args[0], func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			if k, ok := kv.Key.(*ast.Ident); ok && k.Name == "Name" {
				name, err := strconv.Unquote(kv.Value.(*ast.BasicLit).Value)
				require.NoError(t, err)
				names = append(names, name)
			}
			return true
		})
		return true
	})
	return names
}
