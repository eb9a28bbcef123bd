package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// checkRules applies the rules that are written beside the messages.
func checkRules(spec *pb.ExperimentSpec) error {
	err := protovalidate.Validate(spec)
	var ve *protovalidate.ValidationError
	if !errors.As(err, &ve) {
		return err // nil, or rules that do not compile
	}
	var errs []error
	for _, v := range ve.Violations {
		errs = append(errs, &component.FieldError{Field: rulePath(v.Proto.GetField()), Problem: ruleProblem(v)})
	}
	return join(errs)
}

func ruleProblem(v *protovalidate.Violation) string {
	switch v.Proto.GetRuleId() {
	case "string.pattern":
		if v.FieldValue.IsValid() && v.FieldValue.String() == "" {
			return "missing"
		}
		return fmt.Sprintf("%s is not a name: use lower-case letters, digits and hyphens, at most 63, no hyphen at the ends", strconv.Quote(shorten(v.FieldValue.String())))
	case "string.min_len":
		return "missing"
	}
	return v.Proto.GetMessage()
}

// rulePath writes a violation's path as specs write it.
func rulePath(p *validate.FieldPath) string {
	s := ""
	for _, e := range p.GetElements() {
		s = keyed(s, e.GetFieldName())
		switch sub := e.GetSubscript().(type) {
		case *validate.FieldPathElement_Index:
			s = indexed(s, int(sub.Index))
		case *validate.FieldPathElement_StringKey:
			s = keyed(s, sub.StringKey)
		}
	}
	return s
}

// rawSpec splits a patched spec into what the engine resolves.
func rawSpec(m map[string]any) (engine.RawSpec, error) {
	var raw engine.RawSpec
	for name, to := range map[string]*map[string]any{"stream": &raw.Stream, "environment": &raw.Environment, "learner": &raw.Learner} {
		switch v := m[name].(type) {
		case nil:
		case map[string]any:
			*to = v
		default:
			return raw, component.Fieldf(name, "must be an object, is %s", shorten(jsonText(v)))
		}
	}
	switch l := m["probes"].(type) {
	case nil:
	case []any:
		for i, v := range l {
			p, ok := v.(map[string]any)
			if !ok {
				return raw, component.Fieldf(indexed("probes", i), "must be an object, is %s", shorten(jsonText(v)))
			}
			raw.Probes = append(raw.Probes, p)
		}
	default:
		return raw, component.Fieldf("probes", "must be a list, is %s", shorten(jsonText(l)))
	}
	return raw, nil
}

// plainJSON passes a value through JSON.
func plainJSON(v map[string]any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("canonical spec: %w", err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("canonical spec: %w", err)
	}
	return out, nil
}
