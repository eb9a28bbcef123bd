package experiment

import (
	"maps"
	"slices"
	"strings"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// armOrder is the order of the arms in the file, which a map of a message would lose.
// The baseline stands first: the arm named [BaseArm], or else the first arm that is the
// base without a change. An order that is by name already is not worth a field.
func armOrder(arms *node) []string {
	order := slices.Clone(arms.keys)
	baseline := slices.Index(order, BaseArm)
	for i := 0; i < len(order) && baseline < 0; i++ {
		if arm := arms.fields[order[i]]; arm.kind == objectNode && len(arm.keys) == 0 {
			baseline = i
		}
	}
	if baseline > 0 {
		name := order[baseline]
		order = slices.Insert(slices.Delete(order, baseline, baseline+1), 0, name)
	}
	if slices.IsSorted(order) {
		return nil
	}
	return order
}

// ArmOrder returns the names of all arms of an experiment, controls among them, in the
// order in which pictures show them: that of the spec's arm_order, then what it does
// not name, arms before controls.
func ArmOrder(spec *pb.ExperimentSpec) []string {
	all := slices.Sorted(maps.Keys(spec.GetArms()))
	if len(all) == 0 {
		all = []string{BaseArm}
	}
	controls, err := Controls(spec)
	if err == nil { // else of a version that knew others
		for _, c := range controls {
			all = append(all, c.Arm)
		}
	}
	order := slices.DeleteFunc(slices.Clone(spec.GetArmOrder()), func(name string) bool { return !slices.Contains(all, name) })
	for _, name := range all {
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	return order
}

// armOrder checks the order that the spec gives.
func (e *expansion) armOrder() {
	for i, name := range e.spec.GetArmOrder() {
		if !slices.Contains(e.names, name) {
			e.fail(indexed("arm_order", i), "there is no arm %q%s (have: %s)", shorten(name), component.DidYouMean(name, e.names), strings.Join(e.names, ", "))
		}
	}
}
