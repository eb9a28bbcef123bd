// Package schema describes the experiment file: as a JSON Schema, for editors, and as
// a reference for people. Both are made of spec.proto, with its comments and rules,
// and of the registries of components.
package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

type object = map[string]any

// JSON returns the JSON Schema (draft 2020-12) of an experiment file. It has the
// components that the program has.
func JSON() ([]byte, error) {
	s := build()
	root := maps.Clone(s.defs["ExperimentSpec"].(object))
	delete(s.defs, "ExperimentSpec")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "neoteny experiment"
	root["$defs"] = s.defs
	return json.MarshalIndent(root, "", "  ")
}

// builder collects the definitions of a schema.
type builder struct {
	said map[string]string
	defs object
}

func build() *builder {
	b := &builder{said: comments(), defs: object{}}
	for _, doc := range component.All() {
		b.component(doc)
	}
	b.message((&pb.ExperimentSpec{}).ProtoReflect().Descriptor(), false)
	return b
}

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

func listOf(items object) object { return object{"type": "array", "items": items} }

// nullable is a value of a patch, where null takes out what is below.
func nullable(s object) object { return object{"anyOf": []any{s, object{"type": "null"}}} }

// open is the schema of a field that is a component, a patch, or a list of them: what
// the message says of it is only that it is an object. It is nil of other fields.
func (b *builder) open(field string, patch bool) object {
	one := func(kind string) object {
		if patch { // of the base's kind, or another one
			return object{"type": "object"}
		}
		return ref(kind)
	}
	switch field {
	case "ExperimentSpec.stream":
		return one("stream")
	case "ExperimentSpec.environment":
		return one("environment")
	case "ExperimentSpec.learner":
		if patch {
			return learnerPatch()
		}
		return ref("learner")
	case "ExperimentSpec.probes":
		return ref("probe")
	case "ExperimentSpec.arms":
		return b.arm()
	case "ExperimentSpec.analyses":
		return ref("analysis")
	case "ExperimentSpec.controls":
		return experiment.ControlSchema()
	case "Sweep.grid", "SweepSpace.grid", "Distribution.choice":
		return object{"type": "array", "minItems": 1}
	}
	return nil
}

func said(description string, s object) object {
	s["description"] = description
	return s
}

// learnerPatch is the learner of an arm or a form.
func learnerPatch() object {
	part := func(text string) object { return nullable(object{"type": "object", "description": text}) }
	return object{"type": "object", "properties": object{
		"network":   part("patch of the network"),
		"rule":      part("patch of the learning rule"),
		"optimizer": part("patch of the optimiser"),
		"methods":   nullable(listOf(ref("method"))),
	}}
}

func (b *builder) arm() object {
	if b.defs["arm"] == nil {
		b.defs["arm"] = object{}
		b.defs["arm"] = object{"anyOf": []any{object{"type": "null"}, object{
			"type": "object", "additionalProperties": false,
			"description": "Patch over the base: objects merge field by field, null takes out, lists and all else replace, and so does a component of another kind.",
			"properties": object{
				"stream":      said("Patch of the stream.", nullable(object{"type": "object"})),
				"environment": said("Patch of the environment.", nullable(object{"type": "object"})),
				"learner":     said("Patch of the learner: fields of network, rule and optimizer merge, the list methods replaces.", nullable(learnerPatch())),
				"probes":      said("List of probes, in the place of the base's.", nullable(listOf(ref("probe")))),
				"needs":       said("Artifacts that only this arm needs, by name.", nullable(object{"type": "object", "additionalProperties": nullable(b.message((&pb.Need{}).ProtoReflect().Descriptor(), false))})),
			},
		}}}
	}
	return ref("arm")
}

// message adds the definition of a message and returns a reference to it.
func (b *builder) message(md protoreflect.MessageDescriptor, patch bool) object {
	short := string(md.Name())
	name := short
	if patch {
		name += ".patch"
	}
	if b.defs[name] != nil {
		return ref(name)
	}
	b.defs[name] = object{} // it may be in itself
	props, required := object{}, []string{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		p := b.field(short, fd, patch)
		if patch {
			p = nullable(p)
		}
		p["description"] = b.said[short+"."+string(fd.Name())]
		props[string(fd.Name())] = p
		if rulesOf(fd).GetString().GetMinLen() > 0 {
			required = append(required, string(fd.Name()))
		}
	}
	out := object{"type": "object", "description": b.said[short], "additionalProperties": false, "properties": props}
	maps.Copy(props, b.clientFields(short, patch))
	switch {
	case patch:
	case short == "ExperimentSpec":
		out["anyOf"] = []any{object{"required": []string{"name", "learner"}}, object{"required": []string{"include"}}}
	default:
		if len(required) > 0 {
			out["required"] = required
		}
		exactlyOne(out, md)
	}
	b.defs[name] = out
	return ref(name)
}

// clientFields are fields of the file that no message has.
func (b *builder) clientFields(message string, patch bool) object {
	text := func(doc string) object { return object{"type": "string", "description": doc} }
	switch message {
	case "Claim":
		return object{"note": text("The suspected reason, where the claim did not hold; printed beside the verdict.")}
	case "ExperimentSpec":
		untested := object{
			"type": "array", "description": "What the paper claims and this experiment cannot check.",
			"items": object{
				"type": "object", "additionalProperties": false, "required": []string{"paper", "why"},
				"properties": object{"paper": text("What the paper says."), "why": text("What is missing.")},
			},
		}
		if patch {
			return object{"untested": nullable(untested)}
		}
		form := nullable(b.message((&pb.ExperimentSpec{}).ProtoReflect().Descriptor(), true))
		path := object{"type": "string", "minLength": 1}
		return object{
			"untested": untested,
			"forms": object{
				"type": "object", "additionalProperties": false,
				"description": "Other sizes of the experiment, as patches over the document, which is the default form.",
				"properties":  object{"quick": form, "full": form},
			},
			"include": object{
				"anyOf": []any{path, listOf(path)}, "description": "Experiment files that this one is a patch over, each a patch over those before it; paths are relative to this file.",
			},
		}
	}
	return nil
}

// exactlyOne says which fields exclude each other.
func exactlyOne(out object, md protoreflect.MessageDescriptor) {
	rules, _ := proto.GetExtension(md.Options(), validate.E_Message).(*validate.MessageRules)
	for _, group := range rules.GetOneof() {
		if !group.GetRequired() {
			continue
		}
		var alternatives []any
		for _, f := range group.GetFields() {
			alternatives = append(alternatives, object{"required": []string{f}})
		}
		out["oneOf"] = alternatives
	}
}

func rulesOf(fd protoreflect.FieldDescriptor) *validate.FieldRules {
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	return rules
}

// field is the schema of one field.
func (b *builder) field(message string, fd protoreflect.FieldDescriptor, patch bool) object {
	rules := rulesOf(fd)
	special := b.open(message+"."+string(fd.Name()), patch)
	single := func(fd protoreflect.FieldDescriptor, rules *validate.FieldRules) object {
		switch {
		case special != nil:
			return special
		case fd.Kind() == protoreflect.MessageKind:
			if pkg := fd.Message().ParentFile().Package(); pkg != "neoteny.v1" {
				panic(fmt.Sprintf("schema: say what %s.%s is", message, fd.Name()))
			}
			return b.message(fd.Message(), patch)
		}
		return scalar(fd, rules)
	}
	switch {
	case fd.IsMap():
		value := single(fd.MapValue(), rules.GetMap().GetValues())
		if patch {
			value = nullable(value)
		}
		out := object{"type": "object", "additionalProperties": value}
		if p := rules.GetMap().GetKeys().GetString().GetPattern(); p != "" {
			out["propertyNames"] = object{"pattern": p}
		}
		if n := rules.GetMap().GetMaxPairs(); n > 0 {
			out["maxProperties"] = n
		}
		if n := rules.GetMap().GetMinPairs(); n > 0 && !patch {
			out["minProperties"] = n
		}
		return out
	case fd.IsList():
		out := listOf(single(fd, rules.GetRepeated().GetItems()))
		if n := rules.GetRepeated().GetMaxItems(); n > 0 {
			out["maxItems"] = n
		}
		if rules.GetRepeated().GetUnique() {
			out["uniqueItems"] = true
		}
		return out
	}
	return single(fd, rules)
}

// scalar is the schema of a number, a string or a bool with its rules.
func scalar(fd protoreflect.FieldDescriptor, rules *validate.FieldRules) object {
	switch fd.Kind() {
	case protoreflect.StringKind:
		out, r := object{"type": "string"}, rules.GetString()
		if r.GetPattern() != "" {
			out["pattern"] = r.GetPattern()
		}
		if r.GetMinLen() > 0 {
			out["minLength"] = r.GetMinLen()
		}
		if r.GetMaxLen() > 0 {
			out["maxLength"] = r.GetMaxLen()
		}
		if len(r.GetIn()) > 0 {
			out["enum"] = r.GetIn()
		}
		return out
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.DoubleKind:
		out := object{"type": "number"}
		if rules.GetDouble().HasGt() {
			out["exclusiveMinimum"] = rules.GetDouble().GetGt()
		}
		return out
	case protoreflect.Int32Kind:
		out := object{"type": "integer"}
		if rules.GetInt32().HasGte() {
			out["minimum"] = rules.GetInt32().GetGte()
		}
		if rules.GetInt32().HasLte() {
			out["maximum"] = rules.GetInt32().GetLte()
		}
		return out
	case protoreflect.Uint32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": uint32(1<<32 - 1)}
	case protoreflect.Uint64Kind:
		return object{"type": "integer", "minimum": 0}
	}
	panic(fmt.Sprintf("schema: %s is of kind %s", fd.FullName(), fd.Kind()))
}

// component adds the definition of a component, and puts it among those of its kind.
func (b *builder) component(doc component.Doc) {
	var own object
	if err := json.Unmarshal(doc.Schema, &own); err != nil {
		panic(fmt.Sprintf("schema of %s %s: %v", doc.Kind, doc.Name, err)) // was made by package component
	}
	delete(own, "$schema")
	props := own["properties"].(object)
	b.nested(props)
	if presets := slices.Sorted(maps.Keys(doc.Presets)); len(presets) > 0 {
		props["preset"] = object{"enum": presets, "description": "named parameter set to start from"}
	} else {
		delete(props, "preset")
	}
	switch doc.Kind {
	case "probe":
		maps.Copy(props, probeSchedule())
	case "analysis":
		maps.Copy(props, b.analysis(doc.Name))
	case "learner":
		if doc.Name == learner.Default() {
			delete(own, "required")
		}
		if slices.Contains(doc.Needs, component.Core) {
			maps.Copy(props, learnerParts())
		}
		props[learner.OnDivergence] = onDivergence()
	}
	name := doc.Kind + "." + doc.Name
	b.defs[name] = own
	kind, ok := b.defs[doc.Kind].(object)
	if !ok {
		kind = object{"type": "object", "oneOf": []any{}}
		b.defs[doc.Kind] = kind
	}
	kind["oneOf"] = append(kind["oneOf"].([]any), ref(name))
}

// nested puts references in the place of components that are parameters of others.
func (b *builder) nested(v any) {
	switch v := v.(type) {
	case object:
		if kind, ok := v[component.SchemaKind].(string); ok {
			names := v["anyOf"].([]any)[0]
			delete(v, component.SchemaKind)
			v["anyOf"] = []any{names, ref(kind)}
			return
		}
		for _, inner := range v {
			b.nested(inner)
		}
	case []any:
		for _, inner := range v {
			b.nested(inner)
		}
	}
}

// analysis has the fields that analyses have beside their parameters.
func (b *builder) analysis(name string) object {
	inputs, required := object{}, []string{}
	info, _ := analysis.InfoOf(name)
	for _, in := range info.Inputs {
		inputs[in.Name] = object{"$ref": b.input()["$ref"], "description": in.Doc}
		required = append(required, in.Name)
	}
	return object{
		"per":   object{"enum": []string{"seed", "experiment"}, "default": "seed", "description": "run once for every seed, or once over all of them"},
		"needs": object{"type": "object", "additionalProperties": false, "required": required, "properties": inputs, "description": "the artifacts that it looks at"},
	}
}

// input is a [pb.Need] that may be of all seeds at once.
func (b *builder) input() object {
	need := b.message((&pb.Need{}).ProtoReflect().Descriptor(), false)
	if b.defs["input"] == nil {
		d := maps.Clone(b.defs["Need"].(object))
		d["properties"] = maps.Clone(d["properties"].(object))
		d["properties"].(object)["seeds"] = object{"enum": []string{"all"}, "description": "of the runs with all seeds"}
		b.defs["input"] = d
	}
	need["$ref"] = "#/$defs/input"
	return need
}

// learnerParts has what learners with a network are made of.
func learnerParts() object {
	return object{"network": ref("network"), "rule": ref("rule"), "optimizer": ref("optimizer"), "methods": listOf(ref("method"))}
}

// onDivergence is the parameter that all learners have.
func onDivergence() object {
	return object{
		"enum": []string{learner.End, learner.Freeze}, "default": learner.End,
		"description": "what becomes of a run whose loss, weights or state are no longer finite: it ends as diverged, or goes on with the learner frozen and the metric `diverged` 1 (with a stream)",
	}
}

// probeSchedule has the parameters of all probes.
func probeSchedule() object {
	return object{
		"every": object{
			"anyOf":       []any{object{"enum": []string{"step", "task"}}, object{"type": "integer", "minimum": 1}, object{"type": "string", "pattern": "^[1-9][0-9]{0,6} tasks?$"}},
			"description": "when it measures: step, task, a number of steps, or of tasks as in \"10 tasks\"",
		},
		"at":       object{"enum": []string{"start", "end"}, "description": "where in the task, for measurements by tasks"},
		"reduce":   object{"enum": []string{"mean", "last", "max"}, "description": "what becomes of the values since the last one that is kept, and of a task's in the task table"},
		"as":       object{"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$", "description": "name of its metric, in place of its own"},
		"deferred": object{"type": "boolean", "default": false, "description": "measured later, from a checkpoint, by any worker that is idle"},
		"aside":    object{"type": "boolean", "deprecated": true, "description": "former name of deferred"},
	}
}
