package results

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// Plain is a message of the API as the JSON that all commands print: names as in the
// experiment file, numbers as numbers, states as lower-case words, null for what is
// not finite, and nothing left out but what was not set. protojson, which the API
// speaks, writes 64-bit numbers as strings and states as EXPERIMENT_STATE_DONE.
func Plain(m proto.Message) any { return plainMessage(m.ProtoReflect()) }

func plainMessage(m protoreflect.Message) any {
	md := m.Descriptor()
	if md.ParentFile().Package() == "google.protobuf" { // times, and objects of the experiment file
		b, err := protojson.Marshal(m.Interface())
		if err != nil {
			panic(fmt.Sprintf("results: %s: %v", md.FullName(), err)) // came over the wire, or was parsed
		}
		return json.RawMessage(b)
	}
	out := map[string]any{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		// What the user left out of the experiment stays out of it.
		spec := strings.HasSuffix(fd.ParentFile().Path(), "/spec.proto")
		if (spec || fd.HasPresence()) && !m.Has(fd) {
			continue
		}
		out[string(fd.Name())] = plainField(fd, m.Get(fd))
	}
	return out
}

func plainField(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case fd.IsMap():
		out := map[string]any{}
		for k, e := range v.Map().Range {
			out[k.String()] = plainValue(fd.MapValue(), e)
		}
		return out
	case fd.IsList():
		out := make([]any, v.List().Len())
		for i := range out {
			out[i] = plainValue(fd, v.List().Get(i))
		}
		return out
	}
	return plainValue(fd, v)
}

func plainValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return plainMessage(v.Message())
	case protoreflect.EnumKind:
		return enumWord(fd.Enum(), v.Enum())
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return report.Number(v.Float())
	case protoreflect.BytesKind:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case protoreflect.StringKind:
		if s := v.String(); isJSON(fd) && json.Valid([]byte(s)) {
			return json.RawMessage(s)
		}
	}
	return v.Interface()
}

// isJSON reports whether a field's text is JSON itself: the value of a parameter, a
// resolved spec.
func isJSON(fd protoreflect.FieldDescriptor) bool {
	if entry := fd.ContainingMessage(); entry.IsMapEntry() {
		return fd.Name() == "value" && entry.Name() == "ParamsEntry"
	}
	return fd.Name() == "resolved_spec"
}

// enumWord is the name of an enum's value without what all of its names begin with.
func enumWord(ed protoreflect.EnumDescriptor, n protoreflect.EnumNumber) any {
	v := ed.Values().ByNumber(n)
	if v == nil {
		return int(n) // of a newer server
	}
	prefix := strings.TrimSuffix(string(ed.Values().ByNumber(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}

// PlainRuns is [Plain] for runs.
func PlainRuns(runs []*pb.Run) []any {
	out := make([]any, len(runs))
	for i, r := range runs {
		if r.GetCommitted() != nil { // for the program's own use
			r = proto.CloneOf(r)
			r.Committed = nil
		}
		out[i] = Plain(r)
	}
	return out
}

// readRun reads what [Plain] made of a run, and what protojson makes of one, as
// folders of results had it before.
func readRun(b []byte) (*pb.Run, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	var state string
	if raw := fields["state"]; raw != nil && json.Unmarshal(raw, &state) != nil {
		return nil, fmt.Errorf("state: must be a word, is %.40s", raw)
	}
	if _, before := pb.RunState_value[state]; state != "" && !before {
		if _, known := pb.RunState_value["RUN_STATE_"+strings.ToUpper(state)]; !known {
			return nil, fmt.Errorf("unknown state %q", state)
		}
		fields["state"] = json.RawMessage(strconv.Quote("RUN_STATE_" + strings.ToUpper(state)))
		values, text := map[string]json.RawMessage{}, map[string]string{}
		if err := json.Unmarshal(fields["params"], &values); err != nil && fields["params"] != nil {
			return nil, fmt.Errorf("params: %w", err)
		}
		for k, v := range values {
			text[k] = string(v)
		}
		params, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		fields["params"] = params
	}
	whole, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	run := &pb.Run{}
	return run, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(whole, run)
}
