package component

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// colours is a registry whose components are parameters of others.
var colours = &Registry[int, string]{kind: "colour", entries: map[string]*entry[int, string]{}}

func init() {
	build := func(n Numbers, env int) (string, error) { return fmt.Sprint(env, n), nil }
	AddNumbers(colours, Info{Name: "plain", Summary: "no parameters"}, nil, build)
	AddNumbers(colours, Info{Name: "mixed", Summary: "two"}, []Number{
		{Name: "red", Doc: "how red", Default: 0.5, Min: 0, Max: 1},
		{Name: "blue", Doc: "how blue", Default: 0.25, Min: 0, Max: 1},
	}, build)
}

type colour struct{ *Resolved[int, string] }

func (c *colour) UnmarshalJSON(b []byte) (err error) {
	c.Resolved, err = colours.ResolveJSON(b)
	return err
}
func (c colour) MarshalJSON() ([]byte, error) { return c.CanonicalJSON() }
func (colour) JSONSchema() map[string]any     { return colours.NestedSchema() }
func colourOf(name string) colour {
	r, _ := colours.ResolveJSON([]byte(`"` + name + `"`))
	return colour{r}
}
func (paintConfig) Validate() error              { return nil }
func paint(c paintConfig, _ int) (string, error) { return c.Colour.Build(7) }

type paintConfig struct {
	common
	Layers []coat         `json:"layers" doc:"coats of paint"`
	Extra  map[string]int `json:"extra" doc:"more"`
}

type common struct {
	Colour colour `json:"colour" doc:"of all"`
}

type coat struct {
	Thick  int    `json:"thick" doc:"µm"`
	Finish string `json:"finish" doc:"look" enum:"matt|gloss"`
	Under  colour `json:"under" doc:"below it"`
}

// UnmarshalJSON starts from the defaults of a coat.
func (c *coat) UnmarshalJSON(b []byte) error {
	given := map[string]any{}
	if err := json.Unmarshal(b, &given); err != nil {
		return Fieldf("", "must be an object")
	}
	type plain coat
	p := plain{Thick: 3, Finish: "matt", Under: colourOf("plain")}
	if err := Decode(&p, "a coat", given); err != nil {
		return err
	}
	*c = coat(p)
	return nil
}

func paintRegistry() *Registry[int, string] {
	r := &Registry[int, string]{kind: "paint", entries: map[string]*entry[int, string]{}}
	Add(r, Info{Name: "wall", Summary: "a wall"}, paintConfig{common: common{colourOf("plain")}, Layers: []coat{}, Extra: map[string]int{}}, nil, paint)
	return r
}

func TestComponentsInsideOfParameters(t *testing.T) {
	r := paintRegistry()
	res, err := r.Resolve("x", map[string]any{
		"kind": "wall", "colour": map[string]any{"kind": "mixed", "red": 1.0},
		"layers": []any{map[string]any{"thick": 5.0, "under": "mixed"}, map[string]any{}},
		"extra":  map[string]any{"a": 2.0},
	})
	require.NoError(t, err)
	built, err := res.Build(0)
	require.NoError(t, err)
	require.Equal(t, "7 map[blue:0.25 red:1]", built)
	want := map[string]any{
		"kind": "wall", "colour": map[string]any{"kind": "mixed", "red": 1.0, "blue": 0.25}, "extra": map[string]any{"a": 2.0},
		"layers": []any{
			map[string]any{"thick": 5.0, "finish": "matt", "under": map[string]any{"kind": "mixed", "red": 0.5, "blue": 0.25}},
			map[string]any{"thick": 3.0, "finish": "matt", "under": "plain"},
		},
	}
	require.Equal(t, want, res.Canonical(), "every default spelled out; a name where there are no parameters")
	again, err := r.Resolve("x", want)
	require.NoError(t, err)
	require.Equal(t, want, again.Canonical())
}

func TestMistakesInsideOfParametersNameTheirPath(t *testing.T) {
	r := paintRegistry()
	for _, tc := range []struct {
		field string
		value any
		want  string
	}{
		{"colour", "plian", `x.colour: unknown colour "plian", did you mean "plain"? (have: mixed, plain)`},
		{"colour", 3.0, `x.colour: must be the name of a colour, or an object with its kind and parameters`},
		{"colour", map[string]any{"kind": "mixd"}, `x.colour.kind: unknown colour "mixd", did you mean "mixed"? (have: mixed, plain)`},
		{"colour", map[string]any{"kind": "mixed", "rde": 1.0}, `x.colour.rde: mixed has no such parameter, did you mean "red"? (have: red, blue)`},
		{"colour", map[string]any{"kind": "mixed", "red": 2.0}, `x.colour.red: must be between 0 and 1, is 2`},
		{"colour", map[string]any{"kind": "mixed", "red": "x"}, `x.colour.red: must be a number, is x`},
		{"layers", []any{map[string]any{}, map[string]any{"thick": "x"}}, `x.layers[1].thick: must be a whole number in range, is string`},
		{"layers", []any{map[string]any{"finish": "mat"}}, `x.layers[0].finish: unknown value "mat", did you mean "matt"? (one of: matt, gloss)`},
		{"layers", []any{map[string]any{"under": "plian"}}, `x.layers[0].under: unknown colour "plian", did you mean "plain"? (have: mixed, plain)`},
		{"layers", []any{map[string]any{"glittering": 1.0}}, `x.layers[0].glittering: a coat has no such parameter (have: thick, finish, under)`},
		{"layers", []any{nil}, `x.layers[0]: has no value`},
		{"layers", []any{3.0}, `x.layers[0]: must be an object`},
		{"extra", map[string]any{"a": "b"}, `x.extra: must be a whole number in range, is string`},
	} {
		_, err := r.Resolve("x", map[string]any{"kind": "wall", tc.field: tc.value})
		require.EqualError(t, err, tc.want)
	}
	_, err := r.Resolve("x", map[string]any{"kind": "wall", "layers": []any{map[string]any{"thick": "x", "finish": "y"}, map[string]any{"a": 1.0}}})
	require.Len(t, FieldErrors(err), 3, "all mistakes at once")
}

func TestSchemaOfComponentsInsideOfParameters(t *testing.T) {
	var s struct {
		Properties struct {
			Colour struct {
				AnyOf   []map[string]any
				Default string
			}
			Layers struct {
				Items struct {
					Properties map[string]struct{ Description string }
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(paintRegistry().docs()[0].Schema, &s))
	require.Equal(t, "plain", s.Properties.Colour.Default)
	require.Equal(t, []any{"mixed", "plain"}, s.Properties.Colour.AnyOf[0]["enum"])
	require.Equal(t, "µm", s.Properties.Layers.Items.Properties["thick"].Description)
	var m struct {
		Properties struct {
			Red struct{ Default, Minimum, Maximum float64 }
		}
	}
	require.NoError(t, json.Unmarshal(colours.docs()[0].Schema, &m))
	require.Equal(t, 1.0, m.Properties.Red.Maximum)
}

func TestBadNumbersPanic(t *testing.T) {
	add := func(name string, numbers ...Number) func() {
		return func() {
			r := &Registry[int, string]{kind: "thing", entries: map[string]*entry[int, string]{}}
			AddNumbers(r, Info{Name: name, Summary: "x"}, numbers, func(Numbers, int) (string, error) { return "", nil })
		}
	}
	good := Number{Name: "a", Doc: "x", Max: 1}
	require.NotPanics(t, add("thing", good))
	require.Panics(t, add("Thing", good))
	require.Panics(t, add("thing", good, good))
	require.Panics(t, add("thing", Number{Name: "a", Max: 1}))
	require.Panics(t, add("thing", Number{Name: "A", Doc: "x", Max: 1}))
	require.Panics(t, add("thing", Number{Name: "a", Doc: "x", Default: 2, Max: 1}))
}
