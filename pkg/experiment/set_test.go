package experiment

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

func TestSet(t *testing.T) {
	set := func(in string, set ...string) *Document {
		t.Helper()
		d, err := ReadDocument([]byte(in), Options{Set: set})
		require.NoError(t, err)
		return d
	}
	// What is set is what the document could have said.
	got := must(set(document(nil),
		"stream.tasks=3",
		"learner.optimizer.lr=1e-3", "learner.optimizer.lr=0.5", // the last one counts
		"learner.methods[test-decay].lambda=0.1", "learner.methods[+]={kind: test-reset, rate: 0.2}", "learner.methods[1].maturity=5",
		"probes[0]=null", "seeds.count=4", `sweep.grid["stream.batch"]=[1, 2]`,
		"arms.plain={}", "arms.wide.learner.network.hidden=[16]",
		`claims[+]={name: one, value: 'arms["wide"].test_dormant.mean()', holds: {lt: 1}}`,
	).Variant(Default)).Spec
	want := must(Parse([]byte(`
name: exp
stream: {kind: test-stream, tasks: 3}
learner:
  network: {kind: mlp, hidden: [8]}
  optimizer: {kind: sgd, lr: 0.5}
  methods: [{kind: test-decay, lambda: 0.1}, {kind: test-reset, rate: 0.2, maturity: 5}]
probes: [{kind: test-dormant}]
seeds: {count: 4}
sweep: {grid: {stream.batch: [1, 2]}}
arms: {plain: {}, wide: {learner: {network: {hidden: [16]}}}}
claims: [{name: one, value: 'arms["wide"].test_dormant.mean()', holds: {lt: 1}}]
`)))
	require.True(t, proto.Equal(want, got), "%v", got)

	// Another kind has no parameters of the one before it.
	got = must(set(document(nil), "learner.optimizer.kind=adam").Variant(Default)).Spec
	require.Equal(t, map[string]any{"kind": "adam"}, got.GetLearner().AsMap()["optimizer"])
	got = must(set(document(nil), "learner.optimizer.kind=sgd").Variant(Default)).Spec
	require.Equal(t, map[string]any{"kind": "sgd", "lr": 0.01}, got.GetLearner().AsMap()["optimizer"])

	// In every form, over what the form says, and in no other document.
	d := set(formed, "stream.tasks=7", "arms.decay.learner.optimizer.lr=0.3", "arms.plain.learner.methods=[]")
	for _, f := range Forms {
		v := must(d.Variant(f))
		require.Equal(t, 7.0, v.Spec.GetStream().AsMap()["tasks"], f)
		arm := v.Spec.GetArms()["decay"].AsMap()["learner"].(map[string]any)
		require.Equal(t, 0.3, arm["optimizer"].(map[string]any)["lr"], f)
		require.Equal(t, f == Quick, arm["methods"] != nil, f)
	}
	require.NoError(t, d.Validate())
}

// Arms that do not have what was set, since they say it themselves, are named.
func TestSetSaysWhichArmsKeepTheirs(t *testing.T) {
	in := document(map[string]string{
		"arms":  "arms:\n  plain:\n  fast: {learner: {optimizer: {lr: 1}}}\n  adam: {learner: {optimizer: {kind: adam}}}\n  bare: {learner: {methods: []}}",
		"sweep": "sweep: {arms: {plain: {grid: {stream.batch: [1, 2]}, random: {count: 1, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}}}",
	})
	d, err := ReadDocument([]byte(in), Options{Set: []string{
		"learner.optimizer.lr=0.5", "learner.methods[test-decay].lambda=0.5", "stream.batch=5", "seeds.count=3", "arms.plain.learner.optimizer.lr=2",
	}})
	require.NoError(t, err)
	require.Equal(t, []string{
		"--set learner.optimizer.lr=0.5: arm plain has its own: --set arms.plain.learner.optimizer.lr=0.5",
		"--set learner.optimizer.lr=0.5: arm fast has its own: --set arms.fast.learner.optimizer.lr=0.5",
		"--set learner.optimizer.lr=0.5: arm adam has its own: --set arms.adam.learner.optimizer.lr=0.5",
		"--set learner.optimizer.lr=0.5: arm plain varies it in sweep.arms.plain",
		"--set learner.methods[test-decay].lambda=0.5: arm bare has its own: --set arms.bare.learner.methods[test-decay].lambda=0.5",
		"--set stream.batch=5: arm plain varies it in sweep.arms.plain",
	}, must(d.Variant(Default)).Kept)
	d, err = ReadDocument([]byte(document(nil)), Options{Set: []string{"learner.optimizer.lr=0.5"}})
	require.NoError(t, err)
	require.Empty(t, must(d.Variant(Default)).Kept)
}

func TestSetErrors(t *testing.T) {
	for set, want := range map[string]string{
		"":                               "--set : write PATH=VALUE, for example ",
		"lr":                             "--set lr: write PATH=VALUE",
		"learner..lr=1":                  "--set learner..lr=1: write PATH=VALUE",
		"[0]=1":                          "--set [0]=1: write PATH=VALUE",
		"learner.methods[-1]=1":          "write PATH=VALUE",
		"stream.tasks=":                  "--set stream.tasks=: a value is missing; null takes the field out",
		"stream.tasks={":                 "--set stream.tasks={: the value: not readable as YAML: line 1: ",
		"stream.tasks=.nan":              "NaN is not a value: give a finite number (--set stream.tasks=.nan)",
		"sedes.count=3":                  `sedes: unknown field, did you mean "seeds"? (have: `,
		"seeds.count=many":               `seeds.count: must be a number, is "many" (--set seeds.count=many)`,
		"seeds=null":                     "--set seeds=null: there is no seeds to take out",
		"name.first=x":                   "--set name.first=x: name is a string, not an object",
		"learner[0]=1":                   "--set learner[0]=1: learner is an object, not a list",
		"probes[2].tau=1":                "--set probes[2].tau=1: probes has 2 entries, none at index 2; [+] adds one",
		"probes[loss].tau=1":             `--set probes[loss].tau=1: probes has no entry of kind "loss" (have: test-accuracy, test-dormant); [+] adds one`,
		"learner.methods[test-decay].x=": "a value is missing",
		"forms.quick.stream.tasks=1":     "what a file includes and its forms cannot be set",
		"include=a.yaml":                 "what a file includes and its forms cannot be set",
		"stream.batch=1":                 `--set stream.batch=1: sweep.grid["stream.batch"] varies it: set that, as in --set 'sweep.grid["stream.batch"]=[0.1, 0.01]', or take it out with --set 'sweep.grid["stream.batch"]=null'`,
	} {
		_, err := ReadDocument([]byte(document(map[string]string{"sweep": "sweep: {grid: {stream.batch: [1, 2]}}"})), Options{Set: []string{set}})
		require.ErrorContains(t, err, want, set)
	}
}

// No assignment stops the program, and what is accepted is a document.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"stream.tasks=3", "learner.methods[+]={kind: test-reset}", `sweep.grid["stream.batch"]=[1]`, "arms.plain=null", "probes[test-dormant]=null", "seeds.count=&a [*a]", "a[\"=", "learner.methods[0].kind=x", "x={<<: 1}"} {
		f.Add(s, "seeds.count=2")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		d, err := ReadDocument([]byte(formed), Options{Set: []string{one, two}})
		if err != nil {
			return
		}
		for _, form := range d.Forms() {
			v, err := d.Variant(form)
			require.NoError(t, err)
			require.NotNil(t, v.Spec)
		}
	})
}
