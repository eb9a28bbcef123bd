package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
)

// Number is a parameter of a component all of whose parameters are numbers.
type Number struct {
	Name     string // snake_case
	Doc      string
	Default  float64
	Min, Max float64 // both allowed
}

// Numbers are the values of such a component, by name; it is its [Config].
type Numbers map[string]float64

// Validate implements [Config]: ranges are checked when the values are decoded.
func (Numbers) Validate() error { return nil }

// AddNumbers registers a component whose parameters are the given numbers, so
// that many small components need no config type each. Like [Add] it panics on
// programming errors.
func AddNumbers[E, B any](r *Registry[E, B], info Info, numbers []Number, build func(Numbers, E) (B, error)) {
	where := r.kind + " " + info.Name
	if !kebab.MatchString(info.Name) || info.Summary == "" {
		panic(fmt.Sprintf("component: %s: name is not kebab-case, or no summary", where))
	}
	def := Numbers{}
	props := objectSchema(info)
	var names []string
	for _, n := range numbers {
		if !snake.MatchString(n.Name) || n.Doc == "" || slices.Contains(names, n.Name) {
			panic(fmt.Sprintf("component: %s: parameter %q is not snake_case, has no doc, or is there twice", where, n.Name))
		}
		if err := n.check(n.Default); err != nil {
			panic(fmt.Sprintf("component: %s: default: %v", where, err))
		}
		names = append(names, n.Name)
		def[n.Name] = n.Default
		props[n.Name] = map[string]any{
			"type": "number", "description": n.Doc, "default": n.Default, "minimum": n.Min, "maximum": n.Max,
		}
	}
	e := &entry[E, B]{doc: Doc{Info: info, Defaults: mustMarshal(def), Presets: map[string]json.RawMessage{}}}
	e.schema = sync.OnceValue(func() json.RawMessage { return finishSchema(info, props) })
	e.decode = func(base json.RawMessage, given map[string]any) (Config, error) {
		cfg := Numbers{}
		if err := json.Unmarshal(base, &cfg); err != nil {
			return nil, err
		}
		return cfg, cfg.decode(info.Name, numbers, names, given)
	}
	e.build = func(c Config, env E) (B, error) { return build(c.(Numbers), env) }
	r.add(e)
}

func (n Number) check(v float64) error {
	if !(v >= n.Min && v <= n.Max) || math.IsInf(v, 0) {
		return Fieldf(n.Name, "must be between %v and %v, is %v", n.Min, n.Max, v)
	}
	return nil
}

func (c Numbers) decode(component string, numbers []Number, names []string, given map[string]any) error {
	var errs []error
	for _, k := range sortedKeys(given) {
		i := slices.Index(names, k)
		if i < 0 {
			errs = append(errs, Fieldf(k, "%s has no such parameter%s%s", component, DidYouMean(k, names), oneOf(names)))
			continue
		}
		v, ok := given[k].(float64)
		if !ok {
			errs = append(errs, Fieldf(k, "must be a number, is %v", given[k]))
			continue
		}
		if err := numbers[i].check(v); err != nil {
			errs = append(errs, err)
		}
		c[k] = v
	}
	return errors.Join(errs...)
}

// ResolveJSON decodes a component that is a parameter of another one: JSON of
// its name, or of an object with its kind and parameters. It is what the
// UnmarshalJSON of such a parameter's type calls; errors are [FieldError]s.
func (r *Registry[E, B]) ResolveJSON(b []byte) (*Resolved[E, B], error) {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		res, err := r.Resolve("", map[string]any{"kind": v})
		for _, e := range FieldErrors(err) {
			if e.Field == "kind" {
				e.Field = "" // there is no object that could have one
			}
		}
		return res, err
	case map[string]any:
		return r.Resolve("", v)
	}
	return nil, Fieldf("", "must be the name of a %s, or an object with its kind and parameters", r.kind)
}

// CanonicalJSON is what [Registry.ResolveJSON] reads back: the name of a
// component without parameters, else its object with all of them.
func (r *Resolved[E, B]) CanonicalJSON() ([]byte, error) {
	m := r.Canonical()
	if len(m) == 1 {
		return json.Marshal(r.Name)
	}
	return json.Marshal(m)
}

// SchemaKind is the keyword with which [Registry.NestedSchema] says of which kind the
// component is.
const SchemaKind = "x-component"

// NestedSchema is the JSON Schema of a parameter that holds a component of the
// registry. It is called when all components are registered.
func (r *Registry[E, B]) NestedSchema() map[string]any {
	return map[string]any{SchemaKind: r.kind, "anyOf": []any{
		map[string]any{"type": "string", "enum": r.Names()},
		map[string]any{
			"type": "object", "required": []string{"kind"},
			"properties": map[string]any{"kind": map[string]any{"enum": r.Names()}},
		},
	}}
}
