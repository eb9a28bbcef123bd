package experiment

import (
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

const orderHead = "name: x\nstream: {kind: s}\nlearner: {kind: l}\n"

// Pictures show arms in the order of the file, which a map of a message loses, with the
// baseline first.
func TestArmOrderIsThatOfTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		file        string
		field, want []string
	}{
		"no arms":              {"", nil, []string{"base"}},
		"by name already":      {"arms: {a: {}, b: {}}\n", nil, []string{"a", "b"}},
		"of the file":          {"arms: {zeta: {probes: []}, alpha: {probes: []}}\n", []string{"zeta", "alpha"}, []string{"zeta", "alpha"}},
		"unchanged base first": {"arms: {l2: {probes: []}, sgd: {}, adam: {}}\n", []string{"sgd", "l2", "adam"}, []string{"sgd", "l2", "adam"}},
		"base first":           {"arms: {sgd: {}, adam: {probes: []}, base: {}}\n", []string{"base", "sgd", "adam"}, []string{"base", "sgd", "adam"}},
		"as given":             {"arms: {a: {}, b: {}, c: {}}\narm_order: [c]\n", []string{"c"}, []string{"c", "a", "b"}},
		"controls last":        {"arms: {z: {}, a: {probes: []}}\ncontrols: [linear]\n", []string{"z", "a"}, []string{"z", "a", "linear"}},
		"control by name":      {"arms: {z: {}, a: {probes: []}}\ncontrols: [linear]\narm_order: [linear, a]\n", []string{"linear", "a"}, []string{"linear", "a", "z"}},
		"unchanged as a form":  {"arms: {z: {}, a: {probes: []}}\nforms: {quick: {arms: {b: {}}}}\n", []string{"z", "a"}, []string{"z", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := Parse([]byte(orderHead + c.file))
			require.NoError(t, err)
			require.Equal(t, c.field, spec.GetArmOrder())
			require.Equal(t, c.want, ArmOrder(spec))
		})
	}
}

func TestArmOrderOfAForm(t *testing.T) {
	d, err := ReadDocument([]byte(orderHead+"arms: {z: {}, a: {probes: []}}\nforms: {quick: {arms: {m: {probes: []}}}}\n"), Options{})
	require.NoError(t, err)
	v, err := d.Variant(Quick)
	require.NoError(t, err)
	require.Equal(t, []string{"z", "a", "m"}, v.Spec.GetArmOrder())
}

func TestArmOrderNamesArms(t *testing.T) {
	spec := &pb.ExperimentSpec{Name: "x", ArmOrder: []string{"bose"}}
	require.ErrorContains(t, Validate(spec), `arm_order[0]: there is no arm "bose", did you mean "base"? (have: base)`)
	require.Equal(t, []string{"base"}, ArmOrder(spec), "and none is made up")
}
