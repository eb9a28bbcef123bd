package stream

import (
	"encoding/json"

	"neoteny/pkg/engine/component"
)

// Dataset is a parameter that names a dataset: one of the catalogue, a reference
// to one of a user's own (see package data), or several joined by +. In an
// experiment file it may also be the name or the file of an own one; clients put
// the reference in its place before anything is resolved.
type Dataset string

// UnmarshalJSON implements [json.Unmarshaler].
func (d *Dataset) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*d = Dataset(v)
		return nil
	case map[string]any:
		return component.Fieldf("", "must be a name here: a file is read, and a reference put in its place, by `neoteny run` and `neoteny submit`")
	}
	return component.Fieldf("", "must be the name of a dataset, or {path: FILE}, is %s", b)
}

// JSONSchema implements [component.Schemer].
func (Dataset) JSONSchema() map[string]any {
	text := func(doc string) map[string]any {
		return map[string]any{"type": []string{"string", "number"}, "description": doc}
	}
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "string"},
		map[string]any{
			"type": "object", "required": []string{"path"}, "additionalProperties": false,
			"properties": map[string]any{
				"path":        map[string]any{"type": "string", "description": "file or folder, relative to the experiment file"},
				"target":      text("what is to be learnt: column, array or file"),
				"test":        text("examples to hold back: a share, or a file or folder"),
				"test_target": text("target of test, where that is a file of its own"),
				"kind":        map[string]any{"enum": []string{"classes", "regression"}, "description": "what the target is taken for"},
				"drop":        map[string]any{"type": "array", "items": text("a column"), "description": "columns of a table to leave out"},
			},
		},
	}}
}
