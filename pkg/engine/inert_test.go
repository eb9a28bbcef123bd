package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/safetensors"
)

// parameter is a place in a component's object.
type parameter struct {
	path   []any // of names and indices
	schema object
	value  any // its default
}

func (p parameter) String() string {
	s := ""
	for _, x := range p.path {
		if name, ok := x.(string); ok {
			if s != "" {
				s += "."
			}
			s += name
		} else {
			s += fmt.Sprintf("[%d]", x)
		}
	}
	return s
}

// parametersOf lists the parameters of a component, those inside of objects and of
// the first entries of lists too.
func parametersOf(doc component.Doc) []parameter {
	values := parameters(doc, object{})
	var schema struct{ Properties object }
	if err := json.Unmarshal(doc.Schema, &schema); err != nil {
		panic(err)
	}
	var all []parameter
	var walk func(path []any, s object, v any)
	walk = func(path []any, s object, v any) {
		if inner, ok := s["properties"].(object); ok {
			m, _ := v.(object)
			for _, name := range slices.Sorted(maps.Keys(inner)) {
				walk(append(slices.Clone(path), name), inner[name].(object), m[name])
			}
			return
		}
		if items, ok := s["items"].(object); ok && items["properties"] != nil {
			if l, _ := v.([]any); len(l) > 0 {
				walk(append(slices.Clone(path), 0), items, l[0])
				return
			}
		}
		all = append(all, parameter{path, s, v})
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if name != "kind" && name != "preset" {
			walk([]any{name}, schema.Properties[name].(object), values[name])
		}
	}
	return all
}

// others are values in the place of a parameter's.
func (p parameter) others() []any {
	if enum, ok := p.schema["enum"].([]any); ok {
		return slices.DeleteFunc(slices.Clone(enum), func(v any) bool { return v == p.value })
	}
	if forms, ok := p.schema["anyOf"].([]any); ok { // a component, or a dataset
		if enum, ok := forms[0].(object)["enum"].([]any); ok {
			return slices.DeleteFunc(slices.Clone(enum), func(v any) bool { return v == p.value })
		}
		return []any{"fashion-mnist", "cifar-10"}
	}
	switch v := p.value.(type) {
	case bool:
		return []any{!v}
	case float64:
		if p.schema["type"] == "integer" {
			return []any{v + 1, v * 2, v - 1, v + 2, v * 4, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0}
		}
		return []any{v * 1.5, v * 0.5, v + 0.1, v - 0.1, v * 10, v * 0.1, 0.0, 1.0, 0.5, 0.25, 0.9, 2.0, 10.0, 0.01, v + 1, v * 1000}
	case string:
		return []any{v + "x", "some"}
	case []any:
		var out []any
		if items, ok := p.schema["items"].(object); ok && items["type"] == "string" {
			return []any{[]any{"hidden1"}, []any{"output"}}
		}
		if len(v) > 0 {
			out = append(out, v[:len(v)-1])
			if x, ok := v[0].(float64); ok {
				out = append(out, append([]any{x + 1}, v[1:]...), append([]any{x * 0.5}, v[1:]...), append([]any{x * 2}, v[1:]...))
			}
			return append(out, append(slices.Clone(v), v[len(v)-1]))
		}
		return []any{[]any{1.0}, []any{0.0}, []any{2.0, 1.0}, []any{0.5}, []any{3.0, 1.0, 4.0}, []any{5.0, 3.0, 2.0}, []any{"x"}}
	}
	return nil
}

// put returns a copy of v with a value at a path.
func put(v any, path []any, value any) any {
	if len(path) == 0 {
		return value
	}
	switch at := path[0].(type) {
	case string:
		m, _ := v.(object)
		m = maps.Clone(m)
		if m == nil {
			m = object{}
		}
		m[at] = put(m[at], path[1:], value)
		return m
	case int:
		l := slices.Clone(v.([]any))
		l[at] = put(l[at], path[1:], value)
		return l
	}
	panic("no path")
}

// fingerprint is all that a life gives off, or why there is none.
func fingerprint(raw engine.RawSpec, artifacts component.Artifacts) (string, error) {
	spec, err := engine.Resolve(raw)
	if err != nil {
		return "", err
	}
	if spec.Steps() > 3000 {
		return "", fmt.Errorf("%d steps are too long for a test", spec.Steps())
	}
	l, err := engine.New(spec, engine.Env{Seed: 1, Data: trialData, Artifacts: artifacts})
	if err != nil {
		return "", err
	}
	r := newRecord()
	if err := l.Advance(context.Background(), spec.Steps(), r); err != nil {
		return "", err
	}
	digest := ""
	for _, b := range r.boundaries {
		digest += fmt.Sprintf("%x %x ", b.State, b.Rows)
	}
	return digest, nil
}

// circumstances are those in which a parameter makes a difference.
type circumstances struct {
	beside object // parameters of the component
	// says is what the parameter's documentation says of them: where they are part of
	// what the parameter means, and not just more than a small run has.
	says   string
	change func(*engine.RawSpec)
	files  component.Artifacts
}

// acting has the parameters that make no difference in the suite's small runs, with
// the component as its registration's Trial says.
var acting = map[string]circumstances{
	"learner dqn double":                    {change: func(raw *engine.RawSpec) { raw.Environment["steps_per_task"] = 300.0 }},
	"learner supervised loss":               {says: "mse for targets", change: permuted},
	"method a-gem selection":                {says: "reservoir where there are no classes", change: permuted},
	"method experience-replay selection":    {says: "reservoir where there are no classes", change: permuted},
	"method ewc batch":                      {says: "for batched", beside: object{"fisher": "batched", "batch": 3.0}},
	"method ewc decay":                      {says: "for online", beside: object{"accumulate": "online"}},
	"method gateon jump":                    {says: "inferred:", beside: object{"context": "inferred", "settle": 2.0, "jump": 1.01}},
	"method gateon settle":                  {says: "inferred:", beside: object{"context": "inferred", "settle": 2.0, "jump": 1.01}},
	"method homeostatic-lr simulate":        {says: "for homeostatic", beside: object{"decision": "homeostatic"}, change: longer},
	"method input-space-tuning frame":       {says: "for frame", beside: object{"tune": "frame"}, change: convolutions},
	"method input-space-tuning width":       {says: "for network", beside: object{"tune": "network"}},
	"method plasticity-injection from_task": {says: "where step is 0", beside: object{"step": 0.0}},
	"method sharp least":                    {beside: object{"annealing": 2.0}},
	"method sharp neighbors":                {beside: object{"stored": 10.0}, change: heldOutClasses},
	"network binary-mlp evaluation":         {says: "of stochastic ones", change: heldOut},
	"network cnn groups":                    {says: "norm: group", beside: object{"norm": "group"}},
	"network resnet groups":                 {says: "norm: group", beside: object{"norm": "group"}},
	"probe saturated-units samples":         {beside: object{"ratio": 1.0, "share": 0.5}},
	"stream images ranking.from":            {says: "left out", beside: object{"remove": 0.5, "ranking": object{"artifact": "order", "from": "start"}}, files: ranking(600)},
	"stream images targets":                 {says: "to regress on", beside: object{"dataset": measured.Name, "subset": 0.0}},
	"stream permuted targets":               {says: "to regress on", beside: object{"dataset": measured.Name}},
	"stream rotated targets":                {says: "to regress on", beside: object{"dataset": measured.Name}},
	"stream noise targets":                  {says: "without effect where the stream has labels", beside: object{"of": object{"kind": "bit-flip-regression", "examples_per_task": 16.0, "batch": 2.0}}},
	"stream sine test_points":               {change: heldOut},
	"stream teacher-student test_examples":  {change: heldOut},
}

func permuted(raw *engine.RawSpec) {
	raw.Stream = object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 48.0, "batch": 2.0}
}

func convolutions(raw *engine.RawSpec) {
	permuted(raw)
	raw.Learner["network"] = object{"kind": "cnn", "hidden": []any{5.0}, "convolutions": []any{object{"channels": 2.0, "kernel": 5.0, "stride": 3.0, "pool": 2.0}}}
}

// heldOut measures on held-out examples.
func heldOut(raw *engine.RawSpec) {
	raw.Probes = append([]map[string]any{{"kind": "test-loss", "samples": 100.0}}, raw.Probes...)
}

func heldOutClasses(raw *engine.RawSpec) {
	raw.Probes = append([]map[string]any{{"kind": "test-accuracy", "samples": 100.0}}, raw.Probes...)
}

func longer(raw *engine.RawSpec) { raw.Stream["examples_per_task"] = 400.0 }

// ranking is an order of n images.
func ranking(n int) component.Artifacts {
	b := make([]byte, 0, 4*n)
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32((i*37)%n))
	}
	var file bytes.Buffer
	if err := safetensors.Encode(&file, &safetensors.File{Tensors: []safetensors.Tensor{{Name: "ranking", DType: "I32", Shape: []int{n}, Data: b}}}); err != nil {
		panic(err)
	}
	return component.Artifacts{"order": file.Bytes()}
}

// measured is a dataset of images with a target to regress on.
var measured = func() data.Meta {
	m := data.Meta{
		Shape: []int{4, 4}, Floats: true, Targets: 1, Train: 40, Test: 10,
		Files: []data.File{{SHA256: strings.Repeat("0a", 32)}},
	}
	m.Name = m.Ref()
	m, err := data.ParseRef(m.Name)
	if err != nil {
		panic(err)
	}
	return m
}()

var trialData = func() data.Source {
	all := maps.Clone(source.(data.Static))
	key := rng.New(0, measured.Name)
	split := func(n, from int) data.Split {
		s := data.Split{N: n}
		for i := range n * measured.Size() {
			s.F = append(s.F, key.Float32(uint64(from+i), 0))
		}
		for i := range n {
			s.T = append(s.T, 3+5*key.Float32(uint64(from+i), 1))
		}
		return s
	}
	all[measured.Name] = &data.Dataset{Meta: measured, TrainSplit: split(measured.Train, 0), TestSplit: split(measured.Test, 100_000)}
	return all
}()

// TestNoParameterIsInert changes every parameter of every component: some other value
// must make a run with other results, or be refused. Where only some circumstances let
// it act, acting has them, and the parameter's documentation says which.
func TestNoParameterIsInert(t *testing.T) {
	used := map[string]bool{}
	for _, doc := range component.All() {
		if doc.Kind == "analysis" {
			continue // of artifacts, not part of a life
		}
		for _, p := range parametersOf(doc) {
			name := fmt.Sprintf("%s %s %s", doc.Kind, doc.Name, p)
			in, special := acting[name]
			if special {
				used[name] = true
				require.Contains(t, p.schema["description"], in.says, "%s: say when it has an effect", name)
			}
			problem := ""
			for _, optimizer := range []object{nil, {"kind": "adam", "lr": 0.01}} {
				if problem = inert(doc, p, in, optimizer); problem == "" {
					break
				}
			}
			if problem != "" {
				t.Errorf("%s: %s; if it should not, say when it acts: in its doc tag, and in the table acting", name, problem)
			}
		}
	}
	for name := range acting {
		require.True(t, used[name], "%s is no parameter", name)
	}
}

// inert says that no other value of a parameter makes a difference, or "".
func inert(doc component.Doc, p parameter, in circumstances, optimizer object) string {
	c := object{"kind": doc.Name}
	limitSamples(doc, c)
	maps.Copy(c, doc.Trial.Lively)
	base := specOf(doc, c) // which makes c smaller
	maps.Copy(c, in.beside)
	if optimizer != nil && base.Learner["optimizer"] != nil && doc.Kind != "optimizer" {
		base.Learner["optimizer"] = optimizer
	}
	base = replace(doc, base, c)
	if in.change != nil {
		in.change(&base)
	}
	want, err := fingerprint(base, in.files)
	if err != nil {
		return "cannot be tried: " + err.Error()
	}
	whole := parameters(doc, object{})
	maps.Copy(whole, c)
	p.value = get(whole, p.path)
	tried := 0
	for _, v := range p.others() {
		one := maps.Clone(c)
		one[p.path[0].(string)] = put(any(whole), p.path, v).(object)[p.path[0].(string)]
		got, err := fingerprint(replace(doc, base, one), in.files)
		if err != nil {
			continue
		}
		if tried++; got != want {
			return ""
		}
	}
	if tried == 0 {
		return "" // every other value is refused
	}
	return fmt.Sprintf("%d other values make no difference to %v", tried, p.value)
}

func get(v any, path []any) any {
	for _, x := range path {
		switch x := x.(type) {
		case string:
			m, _ := v.(object)
			v = m[x]
		case int:
			v = v.([]any)[x]
		}
	}
	return v
}

// replace puts another object of the component into its place in a spec.
func replace(doc component.Doc, base engine.RawSpec, c object) engine.RawSpec {
	raw := base
	raw.Learner = maps.Clone(base.Learner)
	raw.Probes = slices.Clone(base.Probes)
	switch doc.Kind {
	case "environment":
		raw.Environment = c
	case "learner":
		maps.Copy(raw.Learner, c)
	case "stream":
		raw.Stream = c
	case "network", "rule", "optimizer":
		raw.Learner[doc.Kind] = c
	case "activation", "init":
		n := maps.Clone(raw.Learner["network"].(object))
		n[doc.Kind] = c
		raw.Learner["network"] = n
	case "method":
		raw.Learner["methods"] = []any{c}
	case "probe":
		raw.Probes[len(raw.Probes)-1] = c
	}
	return raw
}
