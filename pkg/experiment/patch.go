package experiment

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/pkg/engine/component"
)

// merge applies a patch to a JSON value, as JSON merge patch (RFC 7396) does:
// objects merge field by field, null deletes, lists and everything else
// replace. One rule is added: a patch whose "kind" is not that of the base is
// another component, which replaces the base instead of inheriting parameters
// that are not its own. Neither argument is changed or shared with the result.
func merge(base, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return clone(patch)
	}
	out := map[string]any{}
	if b, ok := base.(map[string]any); ok && !anotherKind(b, p) {
		out = clone(b).(map[string]any)
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = merge(out[k], v)
		}
	}
	return out
}

func anotherKind(base, patch map[string]any) bool {
	kind := patch["kind"]
	return kind != nil && base["kind"] != kind
}

// clone copies a JSON value deeply.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// object turns a Struct into a JSON object. Numbers that are not finite and
// values too deep inside each other are errors at their path: a Struct may
// come from the wire, where neither is ruled out.
func object(s *structpb.Struct, path string) (map[string]any, error) {
	var errs []error
	v := plain(structpb.NewStructValue(s), path, 0, &errs)
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return v.(map[string]any), nil
}

// values turns a ListValue into JSON values.
func values(l *structpb.ListValue, path string) ([]any, error) {
	var errs []error
	v := plain(structpb.NewListValue(l), path, 0, &errs)
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return v.([]any), nil
}

func plain(v *structpb.Value, path string, depth int, errs *[]error) any {
	if depth > maxDepth {
		*errs = append(*errs, component.Fieldf(path, "more than %d objects and lists inside each other", maxDepth))
		return nil
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		out := make(map[string]any, len(k.StructValue.GetFields()))
		for name, e := range k.StructValue.GetFields() {
			out[name] = plain(e, keyed(path, name), depth+1, errs)
		}
		return out
	case *structpb.Value_ListValue:
		out := make([]any, len(k.ListValue.GetValues()))
		for i, e := range k.ListValue.GetValues() {
			out[i] = plain(e, indexed(path, i), depth+1, errs)
		}
		return out
	case *structpb.Value_NumberValue:
		if math.IsNaN(k.NumberValue) || math.IsInf(k.NumberValue, 0) {
			*errs = append(*errs, component.Fieldf(path, "%s is not a value: give a finite number", strings.TrimPrefix(fmt.Sprint(k.NumberValue), "+")))
			return nil
		}
		return k.NumberValue
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_BoolValue:
		return k.BoolValue
	}
	return nil
}
