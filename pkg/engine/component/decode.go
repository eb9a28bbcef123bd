package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// field is one parameter of a config struct.
type field struct {
	name string
	doc  string
	enum []string
	typ  reflect.Type

	index []int // of the struct field
}

// fieldsOf lists a config's parameters. The enum tag holds the allowed values
// of a string, separated by "|".
func fieldsOf(cfg any) []field {
	t := reflect.TypeOf(cfg)
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("component: config %s is not a struct", t))
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct { // its fields are ours, as in encoding/json
			for _, inner := range fieldsOf(reflect.Zero(f.Type).Interface()) {
				inner.index = append(slices.Clone(f.Index), inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			panic(fmt.Sprintf("component: config %s: field %s has no json tag", t, f.Name))
		}
		fd := field{name: name, doc: f.Tag.Get("doc"), typ: f.Type, index: f.Index}
		if e := f.Tag.Get("enum"); e != "" {
			fd.enum = strings.Split(e, "|")
		}
		fields = append(fields, fd)
	}
	return fields
}

// decodeInto sets the given parameters on cfg, a pointer to a config struct. A
// parameter that it does not have may be a misspelt one of shared.
func decodeInto(cfg any, fields []field, component string, given map[string]any, shared ...string) error {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	var errs []error
	for _, k := range sortedKeys(given) {
		i := slices.Index(names, k)
		if i < 0 {
			errs = append(errs, &FieldError{Field: k, Problem: fmt.Sprintf("%s has no such parameter%s%s", component, DidYouMean(k, slices.Concat(names, shared)), oneOf(slices.Concat(names, shared)))})
			continue
		}
		if err := decodeField(cfg, fields[i], given[k]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func decodeField(cfg any, f field, value any) error {
	if s, ok := value.(string); ok && f.enum != nil && !slices.Contains(f.enum, s) {
		return &FieldError{Field: f.name, Problem: fmt.Sprintf("unknown value %q%s (one of: %s)", s, DidYouMean(s, f.enum), strings.Join(f.enum, ", "))}
	}
	if value == nil {
		return &FieldError{Field: f.name, Problem: "has no value"}
	}
	target := reflect.ValueOf(cfg).Elem().FieldByIndex(f.index)
	return At(f.name, decodeValue(target, value))
}

// decodeValue sets target, a field of a config struct or an element of a list
// in it, to a value of a spec.
func decodeValue(target reflect.Value, value any) error {
	t := target.Type()
	_, own := target.Addr().Interface().(json.Unmarshaler)
	switch v := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct && !own {
			return Decode(target.Addr().Interface(), "this object", v)
		}
	case []any:
		if t.Kind() == reflect.Slice && !own {
			list := reflect.MakeSlice(t, len(v), len(v))
			var errs []error
			for i, x := range v {
				if x == nil {
					errs = append(errs, Fieldf(fmt.Sprintf("[%d]", i), "has no value"))
				} else if err := decodeValue(list.Index(i), x); err != nil {
					errs = append(errs, At(fmt.Sprintf("[%d]", i), err))
				}
			}
			if len(errs) == 0 {
				target.Set(list)
			}
			return errors.Join(errs...)
		}
	}
	b, err := json.Marshal(value)
	if err != nil {
		return &FieldError{Problem: fmt.Sprintf("not a value that JSON can hold: %v", err)}
	}
	err = json.Unmarshal(b, target.Addr().Interface())
	if err == nil || len(FieldErrors(err)) > 0 {
		return err
	}
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return &FieldError{Problem: fmt.Sprintf("must be %s, is %s", describe(te.Type), te.Value)}
	}
	return &FieldError{Problem: strings.TrimPrefix(err.Error(), "json: ")}
}

// Decode sets the given parameters on dst, a pointer to a struct whose fields
// have json and doc tags as a [Config] has them, and that holds the defaults.
// It is what the UnmarshalJSON of objects inside of configs calls. Errors are
// [FieldError]s; what names the object in them.
func Decode(dst any, what string, given map[string]any) error {
	return decodeInto(dst, fieldsOf(reflect.ValueOf(dst).Elem().Interface()), what, given)
}

// describe names a Go type in the words of a spec.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Pointer:
		return describe(t.Elem())
	}
	return "a whole number in range"
}

// withOmitted adds the parameters that their configuration leaves out at their defaults to defaults: those that came
// later, and must not change the canonical form of specs that are older.
func withOmitted(defaults json.RawMessage, fields []field, cfg any) json.RawMessage {
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(defaults, &all); err != nil {
		panic(fmt.Sprintf("component: %v", err)) // was made a moment ago
	}
	have := len(all)
	for _, f := range fields {
		if _, ok := all[f.name]; ok {
			continue
		}
		v := reflect.ValueOf(cfg).FieldByIndex(f.index)
		if v.Kind() == reflect.Slice && v.IsNil() {
			v = reflect.MakeSlice(f.typ, 0, 0)
		}
		all[f.name] = mustMarshal(v.Interface())
	}
	if len(all) == have {
		return defaults
	}
	return mustMarshal(all)
}

// schemaOf makes the JSON Schema of a component's object.
func schemaOf(info Info, fields []field, defaults json.RawMessage) json.RawMessage {
	def := map[string]any{}
	if err := json.Unmarshal(defaults, &def); err != nil {
		panic(fmt.Sprintf("component: %s: %v", info.Name, err))
	}
	props := objectSchema(info)
	for _, f := range fields {
		p := typeSchema(f.typ)
		p["description"] = f.doc
		if d, ok := def[f.name]; ok {
			p["default"] = d
		}
		if f.enum != nil {
			p["enum"] = f.enum
		}
		props[f.name] = p
	}
	return finishSchema(info, props)
}

func objectSchema(info Info) map[string]any {
	return map[string]any{
		"kind":   map[string]any{"const": info.Name},
		"preset": map[string]any{"type": "string", "description": "named parameter set to start from"},
	}
}

func finishSchema(info Info, properties map[string]any) json.RawMessage {
	return mustMarshal(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                info.Name,
		"description":          info.Summary,
		"type":                 "object",
		"required":             []string{"kind"},
		"additionalProperties": false,
		"properties":           properties,
	})
}

func mustMarshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("component: %v", err)) // plain data
	}
	return b
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// SchemaOf is the JSON Schema of a value of v's type, a struct as [Decode] takes it.
func SchemaOf(v any) map[string]any { return typeSchema(reflect.TypeOf(v)) }

// Schemer is a type of parameter that says itself what JSON it takes.
type Schemer interface{ JSONSchema() map[string]any }

func typeSchema(t reflect.Type) map[string]any {
	if s, ok := reflect.Zero(t).Interface().(Schemer); ok {
		return s.JSONSchema()
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Struct:
		props := map[string]any{}
		for _, f := range fieldsOf(reflect.Zero(t).Interface()) {
			p := typeSchema(f.typ)
			p["description"] = f.doc
			if f.enum != nil {
				p["enum"] = f.enum
			}
			props[f.name] = p
		}
		return map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Pointer:
		return typeSchema(t.Elem())
	}
	return map[string]any{"type": "integer"}
}
