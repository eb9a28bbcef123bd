package claim

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var nan = math.NaN()

var table = Table{
	"backprop": {
		"acc":             {0.5, 0.9, 0.8, 0.7},
		"sparse":          {nan, 2, nan, 4, nan},
		"dormant/hidden1": {0, 0.25},
		"nothing":         {nan, nan},
	},
	"continual-backprop": {"acc": {1, 2, 3}},
}

func TestEval(t *testing.T) {
	for expr, want := range map[string]float64{
		`arms["backprop"].acc.peak()`:                                      0.9,
		`arms.backprop.acc.max()`:                                          0.9,
		`arms["backprop"]["acc"].min()`:                                    0.5,
		`arms["backprop"].acc.mean()`:                                      0.725,
		`arms["backprop"].acc.final()`:                                     0.7,
		`arms["backprop"].acc.last(2).mean()`:                              0.75,
		`arms["backprop"].acc.first(1).mean()`:                             0.5,
		`arms["backprop"].acc.slice(1, 3).mean()`:                          0.85,
		`arms["backprop"].acc[1]`:                                          0.9,
		`arms["backprop"].acc[size(arms.backprop.acc) - 1]`:                0.7,
		`arms["backprop"]["dormant/hidden1"].final()`:                      0.25,
		`arms["continual-backprop"].acc.mean() - arms.backprop.acc.peak()`: 1.1,
		// Whole numbers stand for real ones wherever a number is wanted.
		`1 - arms.backprop.acc.peak()`:                                                    0.1,
		`2 * arms.backprop.acc.peak() / 3 + -1`:                                           -0.4,
		`arms.backprop.acc.peak() > 0 ? 1 : 0`:                                            1,
		`1 + 1 + arms.backprop.acc.first(1 + 1).last(2 - 1).mean()`:                       2.9,
		`double(size(arms.backprop.acc)) / 8`:                                             0.5,
		`arms.backprop.acc.map(v, v * 2).mean()`:                                          1.45,
		`double(arms.backprop.acc.filter(v, v > 0.6).size())`:                             3,
		`abs(-2) + sqrt(16) + log(exp(3)) + min(1, arms.backprop.acc.peak()) + max(2, 5)`: 2 + 4 + 3 + 0.9 + 5,
		// What was not measured is left out.
		`arms.backprop.sparse.mean()`:          3,
		`arms.backprop.sparse.min()`:           2,
		`arms.backprop.sparse.peak()`:          4,
		`arms.backprop.sparse.final()`:         4,
		`arms.backprop.sparse.last(2).mean()`:  4,
		`arms.backprop.sparse.first(1).mean()`: nan,
		`arms.backprop.nothing.peak()`:         nan,
		`arms.backprop.nothing.final()`:        nan,
		`arms.backprop.acc.mean() / 0`:         math.Inf(1),
		`log(arms.backprop.acc.mean() - 2)`:    nan,
	} {
		p, err := Compile(expr)
		require.NoError(t, err, expr)
		got, err := p.Eval(table)
		require.NoError(t, err, expr)
		if math.IsNaN(want) || math.IsInf(want, 0) {
			require.Equal(t, math.IsNaN(want), math.IsNaN(got), expr)
			require.Equal(t, math.IsInf(want, 0), math.IsInf(got, 0), expr)
			continue
		}
		require.InDelta(t, want, got, 1e-12, expr)
	}
}

func TestCompileErrors(t *testing.T) {
	const a = `arms["backprop"].acc`
	for expr, want := range map[string]string{
		``:                                    "column",
		a + `.mean(`:                          "column 27: the expression ends too early",
		a + `.average()`:                      "undeclared reference to 'average'",
		a:                                     "is a list with one number per task: end with mean()",
		a + `.mean() > 0.5`:                   "is true or false: put the comparison into holds",
		`"x" + string(` + a + `.mean())`:      "the value must be a number, is string",
		`arms["backprop"].mean()`:             "arms must be followed by an arm and a metric",
		`arms.map(k, 1.0)[0]`:                 "arms must be followed by an arm and a metric",
		`size(arms) * 1.0`:                    "arms must be followed by an arm and a metric",
		`["a"].map(k, arms[k].acc)[0].mean()`: "arms must be followed by an arm and a metric",
		`1 + 1`:                               "looks at no arm",
		a + `.last(0.5).mean()`:               "found no matching overload for 'last'",
		a + `.mean() + "x"`:                   "found no matching overload for '_+_'",
		strings.Repeat("-", 5000) + a:         "longer than 4096",
		strings.Repeat("(", 200) + a + strings.Repeat(")", 200): "recursion",
		a + `.mean() ) + 1`: "column 29: mismatched input ')'",
	} {
		_, err := Compile(expr)
		require.ErrorContains(t, err, want, expr)
		require.NotContains(t, err.Error(), "\n", expr)
	}
}

func TestCheck(t *testing.T) {
	shape := Shape{"a": {Tasks: 5, Metrics: []string{"acc", "dormant"}}, "b": {Tasks: 2, Metrics: []string{"acc"}}}
	for expr, want := range map[string]string{
		`arms.a.acc.last(5).mean() - arms.b.acc.last(2).mean()`: "",
		`arms.a["dormant/hidden1"].mean()`:                      "",
		`log(arms.a.acc.peak() - arms.a.acc.mean())`:            "", // minus infinity on made-up values
		`arms.c.acc.mean()`:                                     `there is no arm "c", did you mean "a"? (have: a, b)`,
		`arms.a.ac.mean()`:                                      `arm "a" does not measure "ac", did you mean "acc"? (have: acc, dormant)`,
		`arms.b["dormant/hidden1"].mean()`:                      `arm "b" does not measure "dormant"`,
		`arms.b.acc.last(3).mean()`:                             "last(3) of 2 tasks",
		`arms.b.acc.first(0).mean()`:                            "first(0) of 2 tasks",
		`arms.b.acc.slice(1, 3).mean()`:                         "slice(1, 3) of 2 tasks",
		`arms.b.acc.slice(1, 1).mean()`:                         "slice(1, 1) of 2 tasks",
		`arms.b.acc[2]`:                                         "index out of bounds: 2",
	} {
		p, err := Compile(expr)
		require.NoError(t, err, expr)
		if err = p.Check(shape); want == "" {
			require.NoError(t, err, expr)
		} else {
			require.ErrorContains(t, err, want, expr)
		}
	}
}

// What no results could make a number is a mistake; what some could is none.
func TestClaimsWithoutAFiniteValue(t *testing.T) {
	shape := Shape{"a": {Tasks: 3, Metrics: []string{"acc"}}, "b": {Tasks: 3, Metrics: []string{"acc"}}}
	check := func(expr string) error {
		p, err := Compile(expr)
		require.NoError(t, err, expr)
		return p.Check(shape)
	}
	for _, expr := range []string{
		`arms.a.acc.mean() / 0`, `arms.a.acc.mean() + 1 / 0`, `arms.a.acc.mean() / (1 - 1)`, `arms.a.acc.mean() / (arms.b.acc.final() - arms.b.acc.final())`,
		`log(0 * arms.a.acc.mean())`, `arms.a.acc.mean() - 1/0 + 1/0`,
	} {
		require.ErrorContains(t, check(expr), "does it divide by zero?", expr)
	}
	for _, expr := range []string{
		`log(arms.a.acc.mean() - arms.b.acc.mean())`, `sqrt(arms.a.acc.mean() - 5)`, `sqrt(arms.b.acc.mean() - arms.a.acc.peak() - 1)`,
		`1 / (arms.a.acc.mean() - arms.b.acc.mean())`, `log(arms.a.acc.mean() - 2)`, `sqrt(0 - arms.a.acc.mean())`,
		`arms.a.acc.mean() / (arms.a.acc.final() - arms.a.acc.first(1).mean())`,
	} {
		require.NoError(t, check(expr), expr)
	}
}

func TestCostIsLimited(t *testing.T) {
	p, err := Compile(`arms.a.acc.map(x, arms.a.acc.mean()).mean()`)
	require.NoError(t, err)
	require.NoError(t, p.Check(Shape{"a": {Tasks: 1000, Metrics: []string{"acc"}}}))
	err = p.Check(Shape{"a": {Tasks: 100_000, Metrics: []string{"acc"}}})
	require.ErrorContains(t, err, "too much work")

	p, err = Compile(`arms.a.acc.last(1000).mean() - arms.a.acc.mean()`)
	require.NoError(t, err)
	require.NoError(t, p.Check(Shape{"a": {Tasks: 1 << 20, Metrics: []string{"acc"}}}), "ordinary claims over long runs are cheap")
}

func TestRefs(t *testing.T) {
	p, err := Compile(`arms["b"].x.mean() - arms.a["y/hidden1"].mean() + arms.b.x.peak()`)
	require.NoError(t, err)
	require.Equal(t, []Ref{{"a", "y/hidden1"}, {"b", "x"}}, p.Refs())
	require.Equal(t, []string{"a", "b"}, p.Arms())
	_, err = p.Eval(Table{"a": {"y/hidden1": {1}}})
	require.EqualError(t, err, `arm "b" has no values of "x"`)
}

func FuzzCompile(f *testing.F) {
	f.Add(`arms["backprop"].acc.peak() - arms.a["x"].last(10).mean()`)
	f.Add(`[1, 2].map(x, {"a": x})[0].a + size(arms.a.b)`)
	f.Fuzz(func(t *testing.T, expr string) {
		p, err := Compile(expr)
		if err != nil {
			return
		}
		shape := Shape{}
		for _, r := range p.Refs() {
			shape[r.Arm] = ArmShape{Tasks: 3, Metrics: append(shape[r.Arm].Metrics, strings.Split(r.Metric, "/")[0])}
		}
		_ = p.Check(shape) // any error, never a panic
	})
}
