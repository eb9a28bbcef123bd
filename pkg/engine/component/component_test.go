package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

type testConfig struct {
	LR     float64 `json:"lr" doc:"step size"`
	Units  []int   `json:"units" doc:"units of each layer"`
	Mode   string  `json:"mode" doc:"how" enum:"fast|slow"`
	Nested bool    `json:"nested" doc:"a switch"`
}

func (c testConfig) Validate() error {
	if c.LR <= 0 {
		return Fieldf("lr", "must be above 0, is %v", c.LR)
	}
	return nil
}

func newTestRegistry() *Registry[int, string] {
	r := &Registry[int, string]{kind: "thing", entries: map[string]*entry[int, string]{}}
	Add(r, Info{Name: "my-thing", Summary: "a thing"},
		testConfig{LR: 0.1, Units: []int{1, 2}, Mode: "fast"},
		map[string]testConfig{"published": {LR: 0.5, Units: []int{7}, Mode: "slow"}},
		func(c testConfig, env int) (string, error) { return c.Mode, nil })
	return r
}

func TestResolveFillsDefaultsThenPresetThenGiven(t *testing.T) {
	r := newTestRegistry()
	res, err := r.Resolve("a.b", map[string]any{"kind": "my-thing", "preset": "published", "lr": 2.0})
	require.NoError(t, err)
	require.Equal(t, testConfig{LR: 2, Units: []int{7}, Mode: "slow"}, res.Config)
	require.Equal(t, map[string]any{"kind": "my-thing", "lr": 2.0, "units": []any{7.0}, "mode": "slow", "nested": false}, res.Canonical())
	built, err := res.Build(1)
	require.NoError(t, err)
	require.Equal(t, "slow", built)
}

func TestDefaultsAreNotShared(t *testing.T) {
	r := newTestRegistry()
	first, err := r.Resolve("", map[string]any{"kind": "my-thing"})
	require.NoError(t, err)
	first.Config.(testConfig).Units[0] = 99
	second, err := r.Resolve("", map[string]any{"kind": "my-thing", "units": []any{5.0, 6.0}})
	require.NoError(t, err)
	third, err := r.Resolve("", map[string]any{"kind": "my-thing"})
	require.NoError(t, err)
	require.Equal(t, []int{5, 6}, second.Config.(testConfig).Units)
	require.Equal(t, []int{1, 2}, third.Config.(testConfig).Units)
}

func TestMistakesNamePathAndMend(t *testing.T) {
	r := newTestRegistry()
	for _, tc := range []struct {
		raw  map[string]any
		want string
	}{
		{map[string]any{"lr": 1.0}, `learner.x.kind: missing: say which thing (have: my-thing)`},
		{map[string]any{"kind": 3.0}, `learner.x.kind: must be a name, is 3`},
		{map[string]any{"kind": "my-thin"}, `learner.x.kind: unknown thing "my-thin", did you mean "my-thing"? (have: my-thing)`},
		{map[string]any{"kind": "my-thing", "lrr": 1.0}, `learner.x.lrr: my-thing has no such parameter, did you mean "lr"? (have: lr, units, mode, nested)`},
		{map[string]any{"kind": "my-thing", "lr": -1.0}, `learner.x.lr: must be above 0, is -1`},
		{map[string]any{"kind": "my-thing", "lr": "fast"}, `learner.x.lr: must be a number, is string`},
		{map[string]any{"kind": "my-thing", "mode": "fsat"}, `learner.x.mode: unknown value "fsat", did you mean "fast"? (one of: fast, slow)`},
		{map[string]any{"kind": "my-thing", "units": 3.0}, `learner.x.units: must be a list, is number`},
		{map[string]any{"kind": "my-thing", "units": []any{1.5}}, `learner.x.units[0]: must be a whole number in range, is number 1.5`},
		{map[string]any{"kind": "my-thing", "nested": nil}, `learner.x.nested: has no value`},
		{map[string]any{"kind": "my-thing", "preset": "x"}, `learner.x.preset: no preset "x" of my-thing (have: published)`},
	} {
		_, err := r.Resolve("learner.x", tc.raw)
		require.EqualError(t, err, tc.want)
	}
	_, err := r.Resolve("x", map[string]any{"kind": "my-thing", "aa": 1.0, "bb": 1.0})
	require.Len(t, FieldErrors(err), 2, "all mistakes at once")
}

func TestDidYouMean(t *testing.T) {
	names := []string{"accuracy-matrix", "gradient-norm", "loss", "online-accuracy", "seen-class-accuracy", "test-accuracy", "update-norm", "online_loss"}
	for got, want := range map[string]string{
		"los": "loss", "accuracy": "online-accuracy", "class-accuracy": "seen-class-accuracy", "class_accuracy": "seen-class-accuracy",
		"matrix": "accuracy-matrix", "gradient": "gradient-norm", "norm": "gradient-norm",
		"on": "", "nothing-like-it": "", "": "", "--": "", "online-accuracy-of-a-task": "",
	} {
		if want != "" {
			want = fmt.Sprintf(", did you mean %q?", want)
		}
		require.Equal(t, want, DidYouMean(got, names), got)
	}
}

func TestBadRegistrationsPanic(t *testing.T) {
	build := func(testConfig, int) (string, error) { return "", nil }
	good := testConfig{LR: 1}
	for name, f := range map[string]func(*Registry[int, string]){
		"duplicate":   func(r *Registry[int, string]) { Add(r, Info{Name: "my-thing", Summary: "x"}, good, nil, build) },
		"not kebab":   func(r *Registry[int, string]) { Add(r, Info{Name: "My_Thing", Summary: "x"}, good, nil, build) },
		"no summary":  func(r *Registry[int, string]) { Add(r, Info{Name: "other"}, good, nil, build) },
		"bad default": func(r *Registry[int, string]) { Add(r, Info{Name: "other", Summary: "x"}, testConfig{}, nil, build) },
		"bad preset": func(r *Registry[int, string]) {
			Add(r, Info{Name: "other", Summary: "x"}, good, map[string]testConfig{"p": {}}, build)
		},
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, func() { f(newTestRegistry()) }) })
	}
}

func TestSchema(t *testing.T) {
	doc := newTestRegistry().docs()[0]
	var s struct {
		Properties map[string]struct {
			Type        string
			Description string
			Default     any
			Enum        []string
		}
		AdditionalProperties bool
	}
	require.NoError(t, json.Unmarshal(doc.Schema, &s))
	require.Equal(t, "number", s.Properties["lr"].Type)
	require.Equal(t, "step size", s.Properties["lr"].Description)
	require.Equal(t, 0.1, s.Properties["lr"].Default)
	require.Equal(t, "array", s.Properties["units"].Type)
	require.Equal(t, []string{"fast", "slow"}, s.Properties["mode"].Enum)
}

func TestAtPrefixesEveryField(t *testing.T) {
	err := At("a", At("[0]", Fieldf("b", "wrong")))
	require.EqualError(t, err, "a[0].b: wrong")
}

func TestAtKeepsTheCause(t *testing.T) {
	cause := errors.New("disk on fire")
	err := At("stream", fmt.Errorf("load: %w", cause))
	require.ErrorIs(t, err, cause, "a caller can find out what happened")
	require.EqualError(t, err, "stream: load: disk on fire")
	require.ErrorIs(t, At("run", err), cause)
	require.EqualError(t, At("run", err), "run.stream: load: disk on fire")
}

// odd has a parameter of every sort that messages and schemas describe.
type odd struct {
	Flag    bool           `json:"flag" doc:"a switch"`
	Name    string         `json:"name" doc:"a name"`
	Count   int            `json:"count" doc:"a number"`
	List    []string       `json:"list" doc:"names"`
	Map     map[string]int `json:"map" doc:"numbers by name"`
	Pointer *int           `json:"pointer" doc:"a number or none"`
	hidden  int            //nolint:unused // not a parameter: the test is that it is ignored
	Ignored int            `json:"-"`
}

func (odd) Validate() error { return nil }

func TestValuesOfTheWrongTypeAreDescribed(t *testing.T) {
	r := &Registry[int, string]{kind: "thing", entries: map[string]*entry[int, string]{}}
	one := 1
	Add(r, Info{Name: "odd", Summary: "odd"}, odd{Map: map[string]int{}, List: []string{}, Pointer: &one}, nil, func(odd, int) (string, error) { return "", nil })
	for field, c := range map[string]struct {
		value any
		want  string
	}{
		"flag":    {"yes", "x.flag: must be true or false, is string"},
		"name":    {1.0, "x.name: must be a string, is number"},
		"count":   {"1", "x.count: must be a whole number in range, is string"},
		"list":    {map[string]any{}, "x.list: must be a list, is object"},
		"map":     {1.0, "x.map: must be an object, is number"},
		"pointer": {"1", "x.pointer: must be a whole number in range, is string"},
		"hidden":  {1.0, "x.hidden: odd has no such parameter"},
		"Ignored": {1.0, "x.Ignored: odd has no such parameter"},
	} {
		_, err := r.Resolve("x", map[string]any{"kind": "odd", field: c.value})
		require.ErrorContains(t, err, c.want)
	}
	_, err := r.Resolve("x", map[string]any{"kind": "odd", "count": func() {}})
	require.ErrorContains(t, err, "x.count: not a value that JSON can hold")
	_, err = r.Resolve("x", map[string]any{"kind": "odd", "preset": 3.0})
	require.ErrorContains(t, err, "x.preset: must be a name, is 3")
	require.Empty(t, DidYouMean(string(make([]byte, 200)), []string{"odd"}), "no typo is that long")
}

type unnamed struct{ A int }
type camel struct {
	A int `json:"camelCase" doc:"a"`
}
type undocumented struct {
	A int `json:"a"`
}
type invalid struct {
	A int `json:"a" doc:"a"`
}
type number int

func (unnamed) Validate() error      { return nil }
func (camel) Validate() error        { return nil }
func (undocumented) Validate() error { return nil }
func (invalid) Validate() error      { return Fieldf("a", "is never right") }
func (number) Validate() error       { return nil }

func register[C Config](c C) func() {
	return func() {
		r := &Registry[int, string]{kind: "thing", entries: map[string]*entry[int, string]{}}
		Add(r, Info{Name: "thing", Summary: "s"}, c, nil, func(C, int) (string, error) { return "", nil })
	}
}

func TestBadConfigurationsPanic(t *testing.T) {
	for want, f := range map[string]func(){
		"has no json tag":   register(unnamed{}),
		"is not snake_case": register(camel{}),
		"has no doc tag":    register(undocumented{}),
		"is never right":    register(invalid{}),
		"is not a struct":   register(number(0)),
	} {
		func() {
			defer func() { require.Contains(t, fmt.Sprint(recover()), want) }()
			f()
		}()
	}
}
