package experiment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

const formed = `
name: exp
stream: {kind: test-stream, tasks: 20}
learner:
  network: {kind: mlp, hidden: [8]}
  optimizer: {kind: sgd, lr: 0.01}
  methods: [{kind: test-decay}]
probes: [{kind: test-accuracy}, {kind: test-dormant}]
arms:
  plain: {learner: {methods: null}}
  decay:
  wide: {learner: {network: {hidden: [16]}}}
sweep: {grid: {learner.optimizer.lr: [0.01, 0.02]}}
select: {metric: test_accuracy, mode: max, confirm_seeds: {count: 3, first: 100}}
seeds: {count: 5}
claims:
  - {name: first, paper: it says so, value: 'arms["plain"].test_accuracy.mean()', holds: {gt: 0}, note: too small}
  - {name: second, value: 'arms["wide"].test_accuracy.mean()', holds: {gt: 0}}
untested:
  - {paper: it also works on ImageNet, why: ImageNet cannot be had}
forms:
  quick:
    stream: {tasks: 5}
    seeds: {count: null, list: [7]}
    select: {confirmSeeds: {count: 2}}
    sweep: {grid: {learner.optimizer.lr: [0.01]}}
    arms:
      wide: null
      decay: {learner: {methods: [{kind: test-reset}]}}
      plain: {learner: {optimizer: {lr: 0.5}, network: {norm: null}}}
    probes: [{kind: test-accuracy}]
    claims:
      - {name: first, value: 'arms["plain"].test_accuracy.mean()', holds: {gt: 0.5}}
  full:
`

func TestForms(t *testing.T) {
	d, err := ReadDocument([]byte(formed), Options{})
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	require.Equal(t, Forms, d.Forms())

	// The quick form is this document, written out.
	want := must(Parse([]byte(`
name: exp
stream: {kind: test-stream, tasks: 5}
learner:
  network: {kind: mlp, hidden: [8]}
  optimizer: {kind: sgd, lr: 0.01}
  methods: [{kind: test-decay}]
probes: [{kind: test-accuracy}]
arms:
  plain: {learner: {methods: null, optimizer: {lr: 0.5}, network: {norm: null}}}
  decay: {learner: {methods: [{kind: test-reset}]}}
sweep: {grid: {learner.optimizer.lr: [0.01]}}
select: {metric: test_accuracy, mode: max, confirm_seeds: {count: 2, first: 100}}
seeds: {list: [7]}
claims: [{name: first, value: 'arms["plain"].test_accuracy.mean()', holds: {gt: 0.5}}]
`)))
	quick := must(d.Variant(Quick))
	require.True(t, proto.Equal(want, quick.Spec), "%v\n%v", want, quick.Spec)
	require.Equal(t, []string{""}, quick.Notes)
	require.Equal(t, []Untested{{"it also works on ImageNet", "ImageNet cannot be had"}}, quick.Untested)

	// The default form is the document, and full is the same here.
	base, full := must(d.Variant(Default)), must(d.Variant(Full))
	require.EqualValues(t, 20, base.Spec.GetStream().AsMap()["tasks"])
	require.Len(t, base.Spec.GetArms(), 3)
	require.Equal(t, []string{"too small", ""}, base.Notes)
	require.True(t, proto.Equal(base.Spec, full.Spec))
	require.True(t, proto.Equal(base.Spec, must(Parse([]byte(formed)))))

	plain := must(ReadDocument([]byte(document(nil)), Options{}))
	require.Equal(t, []Form{Default}, plain.Forms())
	_, err = plain.Variant(Quick)
	require.EqualError(t, err, "there is no quick form (have: default): write what it changes under forms.quick")
}

// Another kind is another component, which inherits nothing.
func TestFormOfAnotherKind(t *testing.T) {
	d := must(ReadDocument([]byte(document(map[string]string{"more": "forms: {quick: {learner: {network: {kind: linear}}}}"})), Options{}))
	require.Equal(t, map[string]any{"kind": "linear"}, must(d.Variant(Quick)).Spec.GetLearner().AsMap()["network"])
}

func TestFormErrors(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"unknown form":        {"forms: {quik: {}}", `forms.quik: unknown form, did you mean "quick"? (have: quick, full) (line 8)`},
		"default":             {"forms: {default: {}}", `forms.default: the document itself is the default form`},
		"no object":           {"forms: {quick: 3}", `forms.quick: must be an object, is 3 (line 8)`},
		"no object of forms":  {"forms: [quick]", `forms: must be an object, is a list (line 8)`},
		"unknown field":       {"forms: {quick: {sedes: {count: 1}}}", `forms.quick.sedes: unknown field, did you mean "seeds"?`},
		"unknown below":       {"forms:\n  full:\n    seeds: {cuont: 1}", `forms.full.seeds.cuont: unknown field, did you mean "count"? (have: count, first, list) (line 10)`},
		"wrong type":          {"forms: {quick: {seeds: {count: two}}}", `forms.quick.seeds.count: must be a number, is "two" (line 8)`},
		"name":                {"forms: {quick: {name: other}}", `forms.quick.name: a form cannot change this (line 8)`},
		"forms in forms":      {"forms: {quick: {forms: {}}}", `forms.quick.forms: a form cannot change this (line 8)`},
		"nothing to take out": {"forms: {quick: {arms: {plian: null}}}", `forms.quick.arms.plian: there is nothing of this name to take out (line 8)`},
		"untested":            {"untested: [{paper: x}]", `untested[0].why: missing`},
		"untested in a form":  {"forms: {quick: {untested: [{paper: x, why: y, wy: z}]}}", `forms.quick.untested[0].wy: unknown field`},
		"note":                {"claims: [{name: a, note: 3}]", `claims[0].note: must be a string, is 3`},
		"no arms left":        {"arms: {a: {}}\nforms: {quick: {arms: {a: null}}}", `forms.quick.arms: an empty arm list`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadDocument([]byte(strings.TrimRight(document(nil), "\n")+"\n"+c.in), Options{})
			require.ErrorContains(t, err, c.want)
			require.Len(t, strings.Split(err.Error(), "\n"), 1, err)
		})
	}
}

// What no parser sees is found by expanding every form, at its place.
func TestFormValidation(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"in the patch":        {"forms: {full: {stream: {tsks: 800}}}", `forms.full.stream.tsks: test-stream has no such parameter, did you mean "tasks"?`},
		"in a quoted field":   {"sweep: {grid: {learner.optimizer.lr: [1]}}\nforms: {quick: {sweep: {grid: {learner.optimizer.lrr: [1]}}}}", `forms.quick.sweep.grid["learner.optimizer.lrr"]`},
		"in an arm":           {"arms: {a: {}}\nforms: {quick: {arms: {a: {stream: {tasks: 0}}}}}", `forms.quick.arms.a.stream.tasks: must be between`},
		"in what is not said": {"claims: [{name: c, value: 'arms[\"a\"].test_accuracy.mean()', holds: {gt: 0}}]\narms: {a: {}, b: {}}\nforms: {quick: {arms: {a: null}}}", `claims[0].value: `},
		"once in all":         {"select: {metric: nope, mode: max}\nforms: {quick: {seeds: {count: 2}}}", `select.metric: arm "base" does not measure "nope"`},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := ReadDocument([]byte(document(nil)+c.in), Options{})
			require.NoError(t, err)
			err = d.Validate()
			require.ErrorContains(t, err, c.want)
			require.Len(t, strings.Split(err.Error(), "\n"), 1, err)
			if name == "in what is not said" {
				require.ErrorContains(t, err, "(in the quick form)")
			}
		})
	}
}
