package component

import (
	"bytes"
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
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			panic(fmt.Sprintf("component: config %s: field %s has no json tag", t, f.Name))
		}
		fd := field{name: name, doc: f.Tag.Get("doc"), typ: f.Type}
		if e := f.Tag.Get("enum"); e != "" {
			fd.enum = strings.Split(e, "|")
		}
		fields = append(fields, fd)
	}
	return fields
}

// decodeInto sets the given parameters on cfg, a pointer to a config struct.
func decodeInto(cfg any, fields []field, component string, given map[string]any) error {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(given)) {
		i := slices.Index(names, k)
		if i < 0 {
			errs = append(errs, &FieldError{Field: k, Problem: fmt.Sprintf("%s has no such parameter%s%s", component, DidYouMean(k, names), oneOf(names))})
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
	b, err := json.Marshal(map[string]any{f.name: value})
	if err != nil {
		return &FieldError{Field: f.name, Problem: fmt.Sprintf("not a value that JSON can hold: %v", err)}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(cfg); err != nil {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			return &FieldError{Field: f.name, Problem: fmt.Sprintf("must be %s, is %s", describe(te.Type), te.Value)}
		}
		return &FieldError{Field: f.name, Problem: strings.TrimPrefix(err.Error(), "json: ")}
	}
	return nil
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

// schemaOf makes the JSON Schema of a component's object.
func schemaOf(info Info, fields []field, defaults json.RawMessage) json.RawMessage {
	def := map[string]any{}
	if err := json.Unmarshal(defaults, &def); err != nil {
		panic(fmt.Sprintf("component: %s: %v", info.Name, err))
	}
	props := map[string]any{
		"kind":   map[string]any{"const": info.Name},
		"preset": map[string]any{"type": "string", "description": "named parameter set to start from"},
	}
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
	b, err := json.Marshal(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                info.Name,
		"description":          info.Summary,
		"type":                 "object",
		"required":             []string{"kind"},
		"additionalProperties": false,
		"properties":           props,
	})
	if err != nil {
		panic(fmt.Sprintf("component: %s: %v", info.Name, err))
	}
	return b
}

func typeSchema(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Struct, reflect.Map:
		return map[string]any{"type": "object"}
	case reflect.Pointer:
		return typeSchema(t.Elem())
	}
	return map[string]any{"type": "integer"}
}
