package experiment

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// Control is an arm that an experiment has to compare others with.
type Control struct {
	Arm  string // its name
	Kind string // "fresh-network", "linear" or "normalized-sgd"
	Of   string // arm that it is a control of; "" for the base
}

// FreshNetwork is the control whose every task has a learner of its own: what it
// does better than the arm that lives on is the plasticity that was lost.
const FreshNetwork = "fresh-network"

// controls are the patches of each kind over the arm that it is a control of.
//
//	fresh-network    the arm with the method fresh-network behind its others
//	linear           its network without hidden layers, and without methods
//	normalized-sgd   plain SGD behind the method input-normalizer, without others
var controls = map[string]func(spec map[string]any, lr any) (map[string]any, string){
	FreshNetwork: func(spec map[string]any, _ any) (map[string]any, string) {
		learner, _ := spec["learner"].(map[string]any)
		methods, _ := learner["methods"].([]any)
		return learnerPatch("methods", append(slices.Clone(methods), any(map[string]any{"kind": "fresh-network"}))), ""
	},
	"linear": func(map[string]any, any) (map[string]any, string) {
		return learnerPatch("network", map[string]any{"kind": "mlp", "hidden": []any{}}, "methods", []any{}), ""
	},
	"normalized-sgd": func(spec map[string]any, lr any) (map[string]any, string) {
		learner, _ := spec["learner"].(map[string]any)
		optimizer, _ := learner["optimizer"].(map[string]any)
		if lr == nil && optimizer["kind"] == "sgd" {
			lr = optimizer["lr"]
		}
		if lr == nil && optimizer["kind"] != "sgd" {
			return nil, "the arm's optimiser is not sgd: say which step size, as in {normalized-sgd: {lr: 0.01}}"
		}
		sgd := map[string]any{"kind": "sgd"}
		if lr != nil {
			sgd["lr"] = lr
		}
		return learnerPatch("optimizer", sgd, "methods", []any{map[string]any{"kind": "input-normalizer"}}), ""
	},
}

func learnerPatch(fields ...any) map[string]any {
	p := map[string]any{}
	for i := 0; i < len(fields); i += 2 {
		p[fields[i].(string)] = fields[i+1]
	}
	return map[string]any{"learner": p}
}

// Skipped is a probe that a control arm does without.
type Skipped struct {
	Arm, Probe string
	Why        string // what the probe needs
}

// resolveControl resolves a control arm without the probes that need what it has not:
// a network without hidden layers has no units to be dormant.
func (e *expansion) resolveControl(a *arm) error {
	err := e.resolveArm(a)
	probes, _ := a.raw["probes"].([]any)
	lacking := map[int]string{}
	for _, fe := range component.FieldErrors(err) {
		var i int
		if _, serr := fmt.Sscanf(fe.Field, "probes[%d]", &i); serr != nil || !errors.Is(fe, engine.ErrLacks) || i >= len(probes) {
			return err // something else is wrong, too
		}
		lacking[i] = fe.Problem
	}
	if len(lacking) == 0 {
		return err
	}
	var left []any
	for i, p := range probes {
		why, skip := lacking[i]
		if !skip {
			left = append(left, p)
			continue
		}
		kind, _ := p.(map[string]any)["kind"].(string)
		e.skipped = append(e.skipped, Skipped{Arm: a.name, Probe: kind, Why: why})
	}
	a.raw = maps.Clone(a.raw)
	a.raw["probes"] = left
	return e.resolveArm(a)
}

// controlOptions are what a control may be given.
type controlOptions struct {
	Of string   `json:"of" doc:"arm that it is a control of; the base where this is left out"`
	LR *float64 `json:"lr" doc:"step size of normalized-sgd; the arm's where this is left out"`
}

// ControlSchema is the JSON Schema of an experiment's controls.
func ControlSchema() map[string]any {
	kinds := slices.Sorted(maps.Keys(controls))
	named := map[string]any{}
	for _, k := range kinds {
		named[k] = component.SchemaOf(controlOptions{})
	}
	return map[string]any{"type": "array", "items": map[string]any{"anyOf": []any{
		map[string]any{"enum": kinds},
		map[string]any{"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": named},
	}}}
}

// Controls reads which control arms an experiment asks for.
func Controls(spec *pb.ExperimentSpec) ([]Control, error) {
	list, _, err := readControls(spec)
	return list, err
}

func readControls(spec *pb.ExperimentSpec) (list []Control, lrs []*float64, err error) {
	entries, err := values(spec.GetControls(), "controls")
	if err != nil {
		return nil, nil, err
	}
	kinds := slices.Sorted(maps.Keys(controls))
	arms := slices.Sorted(maps.Keys(spec.GetArms()))
	var errs []error
	for i, v := range entries {
		at := indexed("controls", i)
		kind, options := "", controlOptions{}
		switch v := v.(type) {
		case string:
			kind = v
		case map[string]any:
			if len(v) != 1 {
				errs = append(errs, component.Fieldf(at, "must be a name, or an object with one, such as {fresh-network: {of: ARM}}"))
				continue
			}
			for name, o := range v {
				kind = name
				m, ok := o.(map[string]any)
				if !ok {
					errs = append(errs, component.Fieldf(keyed(at, name), "must be an object such as {of: ARM}"))
					continue
				}
				if err := component.Decode(&options, name, m); err != nil {
					errs = append(errs, component.At(keyed(at, name), err))
				}
			}
		default:
			errs = append(errs, component.Fieldf(at, "must be a name such as fresh-network, is %s", shorten(jsonText(v))))
			continue
		}
		if controls[kind] == nil {
			errs = append(errs, component.Fieldf(at, "there is no control %q%s (have: %s)", shorten(kind), component.DidYouMean(kind, kinds), strings.Join(kinds, ", ")))
			continue
		}
		if options.Of != "" && !slices.Contains(arms, options.Of) {
			errs = append(errs, component.Fieldf(keyed(at, kind)+".of", "there is no arm %q%s (have: %s)", shorten(options.Of), component.DidYouMean(options.Of, arms), listed(arms)))
			continue
		}
		c := Control{Arm: kind, Kind: kind, Of: options.Of}
		if c.Of != "" {
			c.Arm = c.Of + "-" + kind
		}
		if slices.Contains(arms, c.Arm) || slices.ContainsFunc(list, func(x Control) bool { return x.Arm == c.Arm }) {
			errs = append(errs, component.Fieldf(at, "there is an arm %q already", c.Arm))
			continue
		}
		list, lrs = append(list, c), append(lrs, options.LR)
	}
	return list, lrs, errorsOf(errs)
}

// addControls adds the arms of the experiment's controls to its spec, of which it
// makes a copy.
func (e *expansion) addControls(base map[string]any, patches map[string]*structpb.Struct) map[string]*structpb.Struct {
	list, lrs, err := readControls(e.spec)
	e.add(err)
	if len(list) == 0 {
		return patches
	}
	patches = maps.Clone(patches)
	for i, c := range list {
		at := keyed("arms", c.Of)
		own, err := object(patches[c.Of], at)
		if err != nil {
			continue // reported with the arm
		}
		whole := merge(base, own).(map[string]any)
		var lr any
		if lrs[i] != nil {
			lr = *lrs[i]
		}
		patch, problem := controls[c.Kind](whole, lr)
		if problem != "" {
			e.fail(indexed("controls", i), "%s", problem)
			continue
		}
		s, err := structpb.NewStruct(merge(own, patch).(map[string]any))
		if err != nil {
			e.fail(indexed("controls", i), "%v", err)
			continue
		}
		patches[c.Arm] = s
		e.controls[c.Arm] = true
	}
	return patches
}
