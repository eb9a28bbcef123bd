package experiment

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMergeExamples(t *testing.T) {
	// The cases of RFC 7396, appendix A, with objects at the top.
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		// Ours: another kind replaces, the same kind merges.
		{`{"o":{"kind":"sgd","lr":1}}`, `{"o":{"kind":"adam","beta":2}}`, `{"o":{"kind":"adam","beta":2}}`},
		{`{"o":{"kind":"sgd","lr":1}}`, `{"o":{"kind":"sgd","m":2}}`, `{"o":{"kind":"sgd","lr":1,"m":2}}`},
		{`{"l":{"network":{"kind":"mlp"}}}`, `{"l":{"kind":"reservoir","n":null}}`, `{"l":{"kind":"reservoir"}}`},
		{`{"o":{"kind":"sgd","lr":1}}`, `{"o":{"kind":null}}`, `{"o":{"lr":1}}`},
	} {
		require.JSONEq(t, c[2], jsonText(merge(fromJSON(t, c[0]), fromJSON(t, c[1]))), "%s + %s", c[0], c[1])
	}
}

func fromJSON(t require.TestingT, s string) any {
	root, err := (&reader{}).document([]byte(s))
	require.NoError(t, err)
	m, err := plainJSON(map[string]any{"v": rawJSON(root.appendJSON(nil))})
	require.NoError(t, err)
	return m["v"]
}

type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// specGen draws JSON objects that look like specs.
func specGen(depth int, nulls bool) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		m := map[string]any{}
		for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"stream", "learner", "probes", "kind", "lr", "a-b"}), 0, 4, rapid.ID).Draw(t, "keys") {
			if k == "kind" {
				m[k] = rapid.SampledFrom([]string{"l2", "sgd", "mlp"}).Draw(t, "kind")
				continue
			}
			m[k] = valueGen(t, depth, nulls)
		}
		return m
	})
}

func valueGen(t *rapid.T, depth int, nulls bool) any {
	switch n := rapid.IntRange(0, 5).Draw(t, "type"); {
	case n == 0 && nulls:
		return nil
	case n == 1 && depth > 0:
		return specGen(depth-1, nulls).Draw(t, "object")
	case n == 2 && depth > 0:
		l := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			l = append(l, valueGen(t, depth-1, false))
		}
		return l
	case n == 3:
		return rapid.StringN(0, 4, -1).Draw(t, "text")
	case n == 4:
		return rapid.Bool().Draw(t, "bool")
	}
	return float64(rapid.IntRange(-3, 3).Draw(t, "number"))
}

func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, patch := specGen(3, false).Draw(t, "base"), specGen(3, true).Draw(t, "patch")
		before := jsonText(base) + jsonText(patch)
		once := merge(base, patch)
		require.Equal(t, once, merge(once, patch), "a patch applied twice is applied once")
		require.Equal(t, any(base), merge(base, map[string]any{}), "an empty patch changes nothing")
		require.Equal(t, before, jsonText(base)+jsonText(patch), "the arguments are not changed")
	})
}

func TestPathProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := map[string]any{
			"stream": specGen(2, false).Draw(t, "stream"),
			"probes": []any{specGen(2, false).Draw(t, "probe"), map[string]any{"kind": "only", "x": 1.0}},
		}
		all := leaves(root)
		require.Contains(t, all, "probes[1].x")
		at := rapid.SampledFrom(all).Draw(t, "path")
		p, err := parsePath(at)
		require.NoError(t, err)
		require.Equal(t, at, p.String())

		before := jsonText(root)
		q, old, err := p.resolve(root)
		require.NoError(t, err)
		require.Equal(t, p, q)
		changed := p.set(root, "new")
		_, got, err := p.resolve(changed)
		require.NoError(t, err)
		require.Equal(t, "new", got)
		require.Equal(t, before, jsonText(root), "the original is not changed")
		require.Equal(t, before, jsonText(p.set(changed, old)), "nothing else was changed")
	})
	p, err := parsePath("probes[only].x")
	require.NoError(t, err)
	q, v, err := p.resolve(map[string]any{"probes": []any{map[string]any{"kind": "other"}, map[string]any{"kind": "only", "x": 1.0}}})
	require.NoError(t, err)
	require.Equal(t, 1.0, v)
	require.Equal(t, "probes[1].x", q.String())
}

func FuzzParsePath(f *testing.F) {
	f.Add("learner.methods[l2].lambda")
	f.Add("probes[0]..x[")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePath(s)
		if err != nil {
			return
		}
		again, err := parsePath(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
