// Package component is the registry that streams, networks, rules, optimisers,
// methods and probes sign up with, each in its own file.
//
// A component is written in a spec as an object with "kind" and its parameters
// beside it:
//
//	{kind: adam, lr: 0.001}
//	{kind: continual-backprop, preset: permuted-mnist, maturity: 50}
//
// The registry decodes it into the component's own config struct: defaults
// first, then the preset, then the given parameters; an unknown parameter is
// an error that names its path. Config structs carry their documentation in
// struct tags, from which JSON Schemas are made:
//
//	LR float64 `json:"lr" doc:"step size"`
package component

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Capability is something that a component needs of the others or provides to
// them, for example "units" or "classification".
type Capability string

// The capabilities that components declare.
const (
	// Classification: the stream's targets are class labels.
	Classification Capability = "classification"
	// Regression: the stream's targets are real vectors.
	Regression Capability = "regression"
	// Images: the stream's examples are images.
	Images Capability = "images"
	// Units: the network declares hidden units with their incoming and
	// outgoing weights.
	Units Capability = "units"
	// Gradients: the learning rule computes gradients of a loss.
	Gradients Capability = "gradients"
	// Core: the learner has a network, a rule and an optimiser. Kinds of
	// learners that need it train them in a way of their own.
	Core Capability = "core"
	// Stream: there are tasks with examples.
	Stream Capability = "stream"
	// Environment: the learner acts in an environment.
	Environment Capability = "environment"
	// Lockstep: the learner can step together with others that are built alike.
	Lockstep Capability = "lockstep"
)

// Info describes a component to people and to the validator.
type Info struct {
	Name       string       // kebab-case; the "kind" of its object in a spec
	Paper      string       // where it comes from
	Summary    string       // one line
	Formula    string       // what it computes, where one line says it
	Derivative string       // of the formula, for activations
	Needs      []Capability // what the rest of the spec must provide
	Provides   []Capability // what it provides to the rest
	Publishes  []string     // artifacts that its [Publisher] has, snake_case
	Trial      Trial        // how tests try it
}

// Object is a component's object in a spec, or parameters of one.
type Object = map[string]any

// Trial is what the conformance suite of package engine must know of a
// component to try it; the zero Trial will do for all but methods.
type Trial struct {
	Inert  []Object // parameters of a method that change nothing at all, bit for bit
	Lively Object   // parameters at which a method acts within a few steps
	Idle   []string // optimisers with which nothing of it is to be seen
	// Optimizer, Network and Stream are what the component is tried with where
	// the suite's own do not go with it; Environment and Learner, those for the
	// learner's kind.
	Optimizer, Network, Stream Object
	Environment, Learner       Object
	Alone                      bool // it does not go with every other method
}

// Config is a component's parameters. Validate reports values out of range,
// best as a *[FieldError].
type Config interface{ Validate() error }

// Doc is a component as listed by "neoteny components".
type Doc struct {
	Kind string
	Info
	Schema   json.RawMessage            // JSON Schema of the parameters
	Defaults json.RawMessage            // default parameters
	Presets  map[string]json.RawMessage // named parameter sets
}

// Needer is implemented by a Config whose component needs more of the others with some
// parameters than its Info says.
type Needer interface{ Needs() []Capability }

// Registry holds the components of one kind. E is what a component is built
// in, B what is built.
type Registry[E, B any] struct {
	kind    string
	shared  []string
	mu      sync.Mutex
	entries map[string]*entry[E, B]
}

type entry[E, B any] struct {
	doc    Doc                    // but for its schema
	schema func() json.RawMessage // made when all components are registered, since it may name others
	names  []string               // of the parameters
	decode func(base json.RawMessage, given map[string]any) (Config, error)
	build  func(Config, E) (B, error)
}

var (
	listsMu sync.Mutex
	lists   []func() []Doc
)

// NewRegistry makes the registry of one kind of component. It is called once
// per kind, from a package variable. Shared are parameters that may stand beside
// those of any component of the kind: who resolves has taken them out, and
// messages about unknown ones name them.
func NewRegistry[E, B any](kind string, shared ...string) *Registry[E, B] {
	r := &Registry[E, B]{kind: kind, shared: shared, entries: map[string]*entry[E, B]{}}
	listsMu.Lock()
	defer listsMu.Unlock()
	lists = append(lists, r.docs)
	return r
}

// All returns the documentation of every registered component, sorted by kind
// and name.
func All() []Doc {
	listsMu.Lock()
	defer listsMu.Unlock()
	var all []Doc
	for _, l := range lists {
		all = append(all, l()...)
	}
	slices.SortFunc(all, func(a, b Doc) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func (r *Registry[E, B]) docs() []Doc {
	r.mu.Lock()
	entries := maps.Clone(r.entries)
	r.mu.Unlock()
	var docs []Doc
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		doc := entries[name].doc
		doc.Schema = entries[name].schema()
		docs = append(docs, doc)
	}
	return docs
}

// Names returns the registered names, sorted.
func (r *Registry[E, B]) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.entries))
}

// Parameters returns the names of a component's parameters; none of one that is
// not registered.
func (r *Registry[E, B]) Parameters(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[name]; e != nil {
		return e.names
	}
	return nil
}

var (
	kebab = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
)

// Add registers a component. It panics on a duplicate or misspelt name and on
// a default or preset that does not validate: all are programming errors.
func Add[C Config, E, B any](r *Registry[E, B], info Info, def C, presets map[string]C, build func(C, E) (B, error)) {
	where := r.kind + " " + info.Name
	if !kebab.MatchString(info.Name) {
		panic(fmt.Sprintf("component: %s: name is not kebab-case", where))
	}
	if info.Summary == "" {
		panic(fmt.Sprintf("component: %s: no summary", where))
	}
	fields := fieldsOf(def)
	for _, f := range fields {
		if !snake.MatchString(f.name) {
			panic(fmt.Sprintf("component: %s: parameter %q is not snake_case", where, f.name))
		}
		if f.doc == "" {
			panic(fmt.Sprintf("component: %s: parameter %q has no doc tag", where, f.name))
		}
	}
	mustJSON := func(c C) json.RawMessage {
		if err := c.Validate(); err != nil {
			panic(fmt.Sprintf("component: %s: default or preset: %v", where, err))
		}
		b, err := json.Marshal(c)
		if err != nil {
			panic(fmt.Sprintf("component: %s: %v", where, err))
		}
		return b
	}
	e := &entry[E, B]{doc: Doc{Info: info, Defaults: mustJSON(def), Presets: map[string]json.RawMessage{}}}
	for name, p := range presets {
		e.doc.Presets[name] = mustJSON(p)
	}
	e.doc.Defaults = withOmitted(e.doc.Defaults, fields, def)
	for _, f := range fields {
		e.names = append(e.names, f.name)
	}
	e.schema = sync.OnceValue(func() json.RawMessage { return schemaOf(info, fields, e.doc.Defaults) })
	e.decode = func(base json.RawMessage, given map[string]any) (Config, error) {
		// Unmarshalling twice keeps slices of the defaults from being shared.
		var cfg C
		if err := json.Unmarshal(base, &cfg); err != nil {
			return nil, err
		}
		if err := decodeInto(&cfg, fields, info.Name, given, r.shared...); err != nil {
			return nil, err
		}
		if err := cfg.Validate(); err != nil {
			return nil, err
		}
		return cfg, nil
	}
	e.build = func(c Config, env E) (B, error) { return build(c.(C), env) }
	r.add(e)
}

func (r *Registry[E, B]) add(e *entry[E, B]) {
	e.doc.Kind = r.kind
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, dup := r.entries[e.doc.Name]; dup {
		panic(fmt.Sprintf("component: %s %s registered twice", r.kind, e.doc.Name))
	}
	r.entries[e.doc.Name] = e
}

// Resolved is a component of a spec, decoded and validated, ready to build.
type Resolved[E, B any] struct {
	Info
	Config Config
	Path   string // where it stands in the spec
	build  func(Config, E) (B, error)
}

// Build makes the component.
func (r *Resolved[E, B]) Build(env E) (B, error) {
	b, err := r.build(r.Config, env)
	if err != nil {
		return b, At(r.Path, err)
	}
	return b, nil
}

// Canonical returns the component as a spec object with every parameter
// spelled out.
func (r *Resolved[E, B]) Canonical() map[string]any {
	b, err := json.Marshal(r.Config)
	if err != nil {
		panic(fmt.Sprintf("component: %s: %v", r.Name, err)) // configs are plain data
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		panic(fmt.Sprintf("component: %s: %v", r.Name, err))
	}
	m["kind"] = r.Name
	return m
}

// Resolve decodes a component's object that stands at path in the spec. Errors
// name the path and the fix.
func (r *Registry[E, B]) Resolve(path string, raw map[string]any) (*Resolved[E, B], error) {
	kindValue, ok := raw["kind"]
	if !ok {
		return nil, &FieldError{Field: join(path, "kind"), Problem: fmt.Sprintf("missing: say which %s%s", r.kind, oneOf(r.Names()))}
	}
	name, ok := kindValue.(string)
	if !ok {
		return nil, &FieldError{Field: join(path, "kind"), Problem: fmt.Sprintf("must be a name, is %v", kindValue)}
	}
	r.mu.Lock()
	e := r.entries[name]
	r.mu.Unlock()
	if e == nil {
		return nil, &FieldError{Field: join(path, "kind"), Problem: fmt.Sprintf("unknown %s %q%s%s", r.kind, name, DidYouMean(name, r.Names()), oneOf(r.Names()))}
	}
	preset := ""
	if p, ok := raw["preset"]; ok {
		if preset, ok = p.(string); !ok {
			return nil, &FieldError{Field: join(path, "preset"), Problem: fmt.Sprintf("must be a name, is %v", p)}
		}
	}
	given := map[string]any{}
	for k, v := range raw {
		if k != "kind" && k != "preset" {
			given[k] = v
		}
	}
	base := e.doc.Defaults
	if preset != "" {
		if base, ok = e.doc.Presets[preset]; !ok {
			return nil, &FieldError{Field: join(path, "preset"), Problem: fmt.Sprintf("no preset %q of %s%s", preset, name, oneOf(slices.Sorted(maps.Keys(e.doc.Presets))))}
		}
	}
	cfg, err := e.decode(base, given)
	if err != nil {
		return nil, At(path, err)
	}
	return &Resolved[E, B]{Info: e.doc.Info, Config: cfg, Path: path, build: e.build}, nil
}

// manyNames is from where on a list of names is no help any more.
const manyNames = 30

func oneOf(names []string) string {
	switch {
	case len(names) == 0:
		return ""
	case len(names) > manyNames:
		return fmt.Sprintf(" (have: %s and %d more)", strings.Join(names[:manyNames/3], ", "), len(names)-manyNames/3)
	}
	return " (have: " + strings.Join(names, ", ") + ")"
}

// DidYouMean returns `, did you mean "x"?` for the name nearest to got, or
// nothing where none is near. It ends messages about unknown names.
func DidYouMean(got string, names []string) string {
	best, at := "", 3
	if len(got) > 128 { // a name that long is no typo, and the distance is quadratic
		return ""
	}
	for _, n := range names {
		if d := distance(got, n); d < at {
			best, at = n, d
		}
	}
	if best == "" {
		best = named(got, names)
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// named returns the name of which got is a word, best its last one: online-accuracy
// for accuracy.
func named(got string, names []string) string {
	words := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == '-' || r == '_' })
	}
	asked := words(got)
	if len(got) < 3 || len(asked) == 0 {
		return ""
	}
	best, rank := "", 0
	for _, n := range slices.Sorted(slices.Values(names)) {
		of := words(n)
		r := 0
		switch {
		case len(of) <= len(asked):
			continue
		case slices.Equal(of[len(of)-len(asked):], asked):
			r = 100 - len(of)
		case slices.Equal(of[:len(asked)], asked):
			r = 50 - len(of)
		}
		if r > rank {
			best, rank = n, r
		}
	}
	return best
}

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j+1]+1, cur[j]+1, prev[j]+cost)
		}
		prev = cur
	}
	return prev[len(b)]
}
