package activation

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// reference is an activation once more, in float64 and package math.
type reference struct {
	f     func(x float64) float64
	kinks []float64 // where there is no derivative, or a jump
	// with are parameters other than the defaults; nil tests the defaults.
	with map[string]float64
}

func sigma(x float64) float64    { return 1 / (1 + math.Exp(-x)) }
func softplus(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
func relu(x float64) float64     { return math.Max(x, 0) }
func phi(x float64) float64      { return math.Erfc(-x/math.Sqrt2) / 2 }
func clip(x, lo, hi float64) float64 {
	return math.Min(math.Max(x, lo), hi)
}
func sinc(x float64) float64 {
	if math.Abs(x) < 1e-4 {
		return 1 - x*x/6
	}
	return math.Sin(x) / x
}

// split is two branches, above 0 and from 0 down.
func split(above, below func(float64) float64) func(float64) float64 {
	return func(x float64) float64 {
		if x > 0 {
			return above(x)
		}
		return below(x)
	}
}

func scale(a float64, f func(float64) float64) func(float64) float64 {
	return func(x float64) float64 { return a * f(x) }
}

func identity(x float64) float64 { return x }
func eluFrom(a, b float64) func(float64) float64 {
	return func(x float64) float64 { return a * math.Expm1(b*x) }
}

var references = map[string][]reference{
	"linear":     {{f: identity}},
	"relu":       {{f: relu, kinks: []float64{0}}},
	"leaky-relu": {{f: split(identity, scale(0.01, identity)), kinks: []float64{0}}, {f: split(identity, scale(0.3, identity)), kinks: []float64{0}, with: map[string]float64{"slope": 0.3}}},
	"relu6":      {{f: func(x float64) float64 { return clip(x, 0, 6) }, kinks: []float64{0, 6}}},
	"bounded-relu": {
		{f: func(x float64) float64 { return clip(x, 0, 1) }, kinks: []float64{0, 1}},
		{f: func(x float64) float64 { return clip(x, 0, 3) }, kinks: []float64{0, 3}, with: map[string]float64{"bound": 3}},
	},
	"bounded-leaky-relu": {{f: func(x float64) float64 {
		switch {
		case x < 0:
			return 0.01 * x
		case x < 1:
			return x
		}
		return 0.01*x + 0.99
	}, kinks: []float64{0, 1}}},
	"s-shaped-relu": {
		{f: func(x float64) float64 {
			switch {
			case x < 0:
				return 0.2 * x
			case x < 1:
				return x
			}
			return 1 + 0.2*(x-1)
		}, kinks: []float64{0, 1}},
		{f: func(x float64) float64 {
			switch {
			case x < -1:
				return -1 + 0.5*(x+1)
			case x < 2:
				return x
			}
			return 2 - 3*(x-2)
		}, kinks: []float64{-1, 2}, with: map[string]float64{"left": -1, "left_slope": 0.5, "right": 2, "right_slope": -3}},
	},
	"shifted-relu": {{f: func(x float64) float64 { return math.Max(x, -1) }, kinks: []float64{-1}}},
	"absolute":     {{f: math.Abs, kinks: []float64{0}}},
	"threshold": {{f: func(x float64) float64 {
		if x > 1 {
			return x
		}
		return 0
	}, kinks: []float64{1}}},
	"hard-shrink": {{f: func(x float64) float64 {
		if math.Abs(x) > 0.5 {
			return x
		}
		return 0
	}, kinks: []float64{-0.5, 0.5}}},
	"soft-shrink":  {{f: func(x float64) float64 { return math.Copysign(relu(math.Abs(x)-0.5), x) }, kinks: []float64{-0.5, 0.5}}},
	"hard-tanh":    {{f: func(x float64) float64 { return clip(x, -1, 1) }, kinks: []float64{-1, 1}}},
	"hard-sigmoid": {{f: func(x float64) float64 { return clip(x/6+0.5, 0, 1) }, kinks: []float64{-3, 3}}},
	"squared-relu": {{f: func(x float64) float64 { return relu(x) * relu(x) }, kinks: []float64{0}}},
	"repu": {
		{f: func(x float64) float64 { return math.Pow(relu(x), 3) }, kinks: []float64{0}},
		{f: func(x float64) float64 { return math.Pow(relu(x), 2.5) }, kinks: []float64{0}, with: map[string]float64{"power": 2.5}},
	},
	"star-relu": {{f: func(x float64) float64 { return 0.8944*relu(x)*relu(x) - 0.4472 }, kinks: []float64{0}}},
	"smelu": {{f: func(x float64) float64 {
		switch {
		case x <= -1:
			return 0
		case x >= 1:
			return x
		}
		return (x + 1) * (x + 1) / 4
	}, kinks: []float64{-1, 1}}},
	"sqnl": {{f: func(x float64) float64 {
		switch {
		case x > 2:
			return 1
		case x >= 0:
			return x - x*x/4
		case x >= -2:
			return x + x*x/4
		}
		return -1
	}, kinks: []float64{-2, 0, 2}}},
	"squ":        {{f: func(x float64) float64 { return x*x + x }}},
	"ncu":        {{f: func(x float64) float64 { return x - x*x*x }}},
	"cubic":      {{f: func(x float64) float64 { return x * x * x }}},
	"hard-swish": {{f: func(x float64) float64 { return x * clip(x+3, 0, 6) / 6 }, kinks: []float64{-3, 3}}},
	"hard-mish":  {{f: func(x float64) float64 { return x / 2 * clip(x+2, 0, 2) }, kinks: []float64{-2, 0}}},

	"elu": {
		{f: split(identity, math.Expm1), kinks: []float64{0}},
		{f: split(identity, eluFrom(0.5, 1)), kinks: []float64{0}, with: map[string]float64{"alpha": 0.5}},
	},
	"celu":             {{f: split(identity, eluFrom(2, 0.5)), kinks: []float64{0}, with: map[string]float64{"alpha": 2}}},
	"selu":             {{f: scale(1.0507009873554804934193349852946, split(identity, eluFrom(1.6732632423543772848170429916717, 1))), kinks: []float64{0}}},
	"mpelu":            {{f: split(identity, eluFrom(0.7, 2)), kinks: []float64{0}, with: map[string]float64{"alpha": 0.7, "beta": 2}}},
	"pelu":             {{f: split(scale(1.5, identity), eluFrom(3, 0.5)), kinks: []float64{0}, with: map[string]float64{"a": 3, "b": 2}}},
	"elish":            {{f: split(func(x float64) float64 { return x * sigma(x) }, func(x float64) float64 { return math.Expm1(x) * sigma(x) }), kinks: []float64{0}}},
	"hard-elish":       {{f: split(func(x float64) float64 { return x * clip((x+1)/2, 0, 1) }, func(x float64) float64 { return math.Expm1(x) * clip((x+1)/2, 0, 1) }), kinks: []float64{-1, 0, 1}}},
	"isrlu":            {{f: split(identity, func(x float64) float64 { return x / math.Sqrt(1+3*x*x) }), kinks: []float64{0}, with: map[string]float64{"alpha": 3}}},
	"softplus":         {{f: softplus}, {f: func(x float64) float64 { return softplus(4*x) / 4 }, with: map[string]float64{"beta": 4}}},
	"shifted-softplus": {{f: func(x float64) float64 { return softplus(x) - math.Ln2 }}},
	"softplus-linear":  {{f: split(identity, func(x float64) float64 { return 2*softplus(x) - 2*math.Ln2 }), kinks: []float64{0}}},
	"squareplus": {{f: func(x float64) float64 {
		if x < 0 {
			return 2 / (math.Sqrt(x*x+4) - x)
		}
		return (x + math.Sqrt(x*x+4)) / 2
	}, kinks: []float64{0}}},
	"bent-identity":    {{f: func(x float64) float64 { return (math.Sqrt(x*x+1)-1)/2 + x }}},
	"natural-log-relu": {{f: func(x float64) float64 { return math.Log1p(2 * relu(x)) }, kinks: []float64{0}, with: map[string]float64{"beta": 2}}},
	"apalu":            {{f: split(func(x float64) float64 { return 0.55 * (x + x*sigma(1.702*x)) }, eluFrom(0.065, 1)), kinks: []float64{0}}},
	"suish":            {{f: func(x float64) float64 { return math.Max(x, x*math.Exp(-math.Abs(x))) }, kinks: []float64{0}}},

	"sigmoid":         {{f: sigma}},
	"tanh":            {{f: math.Tanh}},
	"scaled-tanh":     {{f: func(x float64) float64 { return 1.7159 * math.Tanh(2*x/3) }}},
	"bipolar-sigmoid": {{f: func(x float64) float64 { return math.Tanh(x / 2) }}},
	"penalized-tanh":  {{f: split(math.Tanh, scale(0.25, math.Tanh)), kinks: []float64{0}}},
	"rectified-tanh":  {{f: func(x float64) float64 { return relu(math.Tanh(x)) }, kinks: []float64{0}}},
	"softsign":        {{f: func(x float64) float64 { return x / (1 + math.Abs(x)) }, kinks: []float64{0}}},
	"elliott":         {{f: func(x float64) float64 { return 0.5*x/(1+math.Abs(x)) + 0.5 }, kinks: []float64{0}}},
	"isru":            {{f: func(x float64) float64 { return x / math.Sqrt(1+x*x/4) }, with: map[string]float64{"alpha": 0.25}}},
	"rootsig":         {{f: func(x float64) float64 { return 2 * x / (1 + math.Sqrt(1+4*x*x)) }, with: map[string]float64{"a": 2}}},
	"hexpo": {{f: func(x float64) float64 {
		if x >= 0 {
			return -2 * math.Expm1(-x/3)
		}
		return 4 * math.Expm1(x/5)
	}, kinks: []float64{0}, with: map[string]float64{"a": 2, "b": 3, "c": 4, "d": 5}}},
	"log-sigmoid":           {{f: func(x float64) float64 { return -softplus(-x) }}},
	"log-log":               {{f: func(x float64) float64 { return math.Exp(-math.Exp(-x)) }}},
	"complementary-log-log": {{f: func(x float64) float64 { return -math.Expm1(-math.Exp(x)) }}},
	"modified-cloglog":      {{f: func(x float64) float64 { return 1 - 2*math.Exp(-0.7*math.Exp(x)) }}},
	"erf":                   {{f: math.Erf}},
	"gaussian":              {{f: func(x float64) float64 { return math.Exp(-x * x) }}},
	"sech":                  {{f: func(x float64) float64 { return 1 / math.Cosh(x) }, kinks: []float64{0}}},
	"triangular":            {{f: func(x float64) float64 { return relu(1 - math.Abs(x)) }, kinks: []float64{-1, 0, 1}}},
	"elephant": {
		{f: func(x float64) float64 { return 1 / (1 + math.Pow(math.Abs(x), 4)) }},
		{f: func(x float64) float64 { return 1 / (1 + math.Pow(math.Abs(x/0.1), 8)) }, with: map[string]float64{"a": 0.1, "d": 8}},
		{f: func(x float64) float64 { return 1 / (1 + math.Pow(math.Abs(x/0.5), 3.5)) }, kinks: []float64{0}, with: map[string]float64{"a": 0.5, "d": 3.5}},
	},

	"silu":       {{f: func(x float64) float64 { return x * sigma(x) }}},
	"swish":      {{f: func(x float64) float64 { return x * sigma(2*x) }, with: map[string]float64{"beta": 2}}},
	"e-swish":    {{f: func(x float64) float64 { return 1.5 * x * sigma(x) }}},
	"quick-gelu": {{f: func(x float64) float64 { return x * sigma(1.702*x) }}},
	"gelu":       {{f: func(x float64) float64 { return x * phi(x) }}},
	"gelu-tanh": {{f: func(x float64) float64 {
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}}},
	"sgelu":     {{f: func(x float64) float64 { return x * math.Erf(x/math.Sqrt2) }}},
	"mish":      {{f: func(x float64) float64 { return x * math.Tanh(softplus(x)) }}},
	"serf":      {{f: func(x float64) float64 { return x * math.Erf(softplus(x)) }}},
	"erf-act":   {{f: func(x float64) float64 { return x * math.Erf(0.75*math.Exp(0.75*x)) }}},
	"pserf":     {{f: func(x float64) float64 { return x * math.Erf(1.25*softplus(0.85*x)) }}},
	"tanh-exp":  {{f: func(x float64) float64 { return x * math.Tanh(math.Exp(x)) }}},
	"smish":     {{f: func(x float64) float64 { return x * math.Tanh(math.Log1p(sigma(x))) }}},
	"logish":    {{f: func(x float64) float64 { return x * math.Log1p(sigma(x)) }}},
	"loglogish": {{f: func(x float64) float64 { return -x * math.Expm1(-math.Exp(x)) }}},
	"gish":      {{f: func(x float64) float64 { return x * math.Log1p(-math.Expm1(-math.Exp(x))) }}},
	"phish":     {{f: func(x float64) float64 { return x * math.Tanh(x*phi(x)) }}},
	"ts-relu":   {{f: func(x float64) float64 { return x * math.Tanh(sigma(x)) }}},
	"tbs-relu": {{f: func(x float64) float64 {
		return x * math.Tanh((1-math.Exp(-math.Abs(x)))/(1+math.Exp(-math.Abs(x)))*math.Copysign(1, x))
	}}},
	"lisht":       {{f: func(x float64) float64 { return x * math.Tanh(x) }}},
	"tanh-shrink": {{f: func(x float64) float64 { return x - math.Tanh(x) }}},
	"dsilu":       {{f: func(x float64) float64 { return sigma(x) * (1 + x*sigma(-x)) }}},
	"bsilu":       {{f: func(x float64) float64 { return (x+1.67)*sigma(x) - 1.67/2 }}},
	"eanaf":       {{f: func(x float64) float64 { return x / (1 + 2*math.Exp(-x)) }}},
	"soft-root-sign": {{f: func(x float64) float64 {
		if e := math.Exp(-x / 3); !math.IsInf(e, 0) {
			return x / (x/2 + e)
		}
		return 0
	}}},
	"sinlu":   {{f: func(x float64) float64 { return (x + 2*math.Sin(3*x)) * sigma(x) }, with: map[string]float64{"a": 2, "b": 3}}},
	"coslu":   {{f: func(x float64) float64 { return (x + 2*math.Cos(3*x)) * sigma(x) }, with: map[string]float64{"a": 2, "b": 3}}},
	"sin-sig": {{f: func(x float64) float64 { return x * math.Sin(math.Pi/2*sigma(x)) }}},

	"sine":          {{f: math.Sin}, {f: func(x float64) float64 { return math.Sin(3 * x) }, with: map[string]float64{"omega": 3}}},
	"cosine":        {{f: math.Cos}},
	"sinc":          {{f: sinc, kinks: []float64{-1, 1}}},
	"snake":         {{f: func(x float64) float64 { return x + math.Pow(math.Sin(2*x), 2)/2 }, with: map[string]float64{"a": 2}}},
	"gcu":           {{f: func(x float64) float64 { return x * math.Cos(x) }}},
	"dsu":           {{f: func(x float64) float64 { return math.Pi / 2 * (sinc(x-math.Pi) - sinc(x+math.Pi)) }}},
	"ssu":           {{f: func(x float64) float64 { return math.Pi * sinc(x-math.Pi) }}},
	"cosid":         {{f: func(x float64) float64 { return math.Cos(x) - x }}},
	"minsin":        {{f: func(x float64) float64 { return math.Min(x, math.Sin(x)) }, kinks: []float64{0}}},
	"symmetric-log": {{f: func(x float64) float64 { return math.Copysign(math.Log1p(math.Abs(x)), x) }, kinks: []float64{0}}},
}

// points are where functions are compared: a grid around 0, and far out.
func points() []float64 {
	p := []float64{0, 1e-5, -1e-5, 1e-3, -1e-3}
	for x := -12.0; x <= 12; x += 0.3125 { // exact in float32, and no kink
		p = append(p, x+1.0/64)
	}
	for _, x := range []float64{1, 2, 3, 6, 20, 41, 60, 89, 104, 300, 1e3, 1e4} {
		p = append(p, x, -x)
	}
	return p
}

// trace returns a program's inputs and nodes for x [n][1].
func trace(a Activation, n int) (b *graph.Builder, x, y graph.Node) {
	b = graph.NewBuilder()
	x = b.Input("x", n, 1)
	y = a.Apply(b, x)
	b.Output("y", y)
	return b, x, y
}

func named(t *testing.T, name string, with map[string]float64) Activation {
	t.Helper()
	a, err := With(name, with)
	require.NoError(t, err)
	return a
}

func TestEveryActivationHasAReference(t *testing.T) {
	var here []string
	for name := range references {
		here = append(here, name)
	}
	across := []string{"ash", "hard-ash", "top-k", "top-k-subtract", "local-winner", "crelu", "fourier"} // have tests of their own
	require.ElementsMatch(t, Names(), append(here, across...))
	require.GreaterOrEqual(t, len(Names()), 64)
	for _, doc := range component.All() {
		if doc.Kind == "activation" {
			require.NotEmpty(t, doc.Formula, doc.Name)
			require.NotEmpty(t, doc.Derivative, doc.Name)
			require.NotEmpty(t, doc.Paper, doc.Name)
		}
	}
}

// Values: float32 against package math, a few roundings relative to the size of
// the argument or the result.
func TestValues(t *testing.T) {
	xs := points()
	for name, cases := range references {
		for _, ref := range cases {
			t.Run(name, func(t *testing.T) {
				b, _, _ := trace(named(t, name, ref.with), len(xs))
				p := b.Compile()
				for i, x := range xs {
					p.Input("x")[i] = float32(x)
				}
				p.Run(0)
				for i, got := range p.Output("y") {
					x := float64(float32(xs[i]))
					want := ref.f(x)
					// sines of large arguments lose what rounding the argument's multiple loses
					tolerance := 4e-6*math.Abs(want) + 5e-7
					if slices.Contains([]string{"sine", "cosine", "gcu", "cosid", "minsin", "snake", "sinlu", "coslu", "dsu", "ssu", "sinc"}, name) {
						tolerance += 4e-7 * math.Abs(x) * math.Max(1, math.Min(math.Abs(want), math.Abs(x)))
					}
					require.InDelta(t, want, float64(got), tolerance, "%s(%v) %v", name, x, ref.with)
				}
			})
		}
	}
}

// Derivatives: of the program in float32 and of its float64 twin, against
// central differences of the reference; and second derivatives of the twin
// against central differences of the first.
func TestDerivatives(t *testing.T) {
	all := points()
	for name, cases := range references {
		for _, ref := range cases {
			t.Run(name, func(t *testing.T) {
				xs := slices.DeleteFunc(slices.Clone(all), func(x float64) bool {
					return slices.ContainsFunc(ref.kinks, func(k float64) bool { return math.Abs(x-k) < 3e-3 })
				})
				b, x, y := trace(named(t, name, ref.with), len(xs))
				first := b.Gradients(y, x)[0]
				b.Output("first", first)
				b.Output("second", b.Gradients(first, x)[0])
				twin := graph.NewTwin(b)
				p := b.Compile()
				for i, x := range xs {
					p.Input("x")[i] = float32(x)
				}
				p.Run(0)
				run := func(shift float64) (first, second []float64) {
					for i := range xs {
						twin.Input("x")[i] = float64(float32(xs[i])) + shift
					}
					twin.Run(0)
					return slices.Clone(twin.Output("first")), slices.Clone(twin.Output("second"))
				}
				const h = 1e-5
				up, _ := run(h)
				down, _ := run(-h)
				exact, second := run(0)
				for i := range xs {
					x := float64(float32(xs[i]))
					f32, s32 := float64(p.Output("first")[i]), float64(p.Output("second")[i])
					require.False(t, math.IsNaN(f32) || math.IsInf(f32, 0), "%s′(%v) is %v", name, x, f32)
					require.False(t, math.IsNaN(s32) || math.IsInf(s32, 0), "%s″(%v) is %v", name, x, s32)
					if math.Abs(x) > 100 {
						require.InDelta(t, exact[i], f32, 1e-3+4e-5*math.Abs(exact[i])+4e-7*x*x, "%s′(%v) against its twin", name, x)
						continue // differences have no digits left
					}
					want := (ref.f(x+h) - ref.f(x-h)) / (2 * h)
					noise := 1e-10 * math.Abs(ref.f(x)) / h
					require.InDelta(t, want, exact[i], 2e-6*(1+math.Abs(want))+noise, "%s′(%v) of the twin", name, x)
					require.InDelta(t, exact[i], f32, 2e-5*(1+math.Abs(exact[i])*(1+math.Abs(x)/10)), "%s′(%v)", name, x)
					want = (up[i] - down[i]) / (2 * h)
					require.InDelta(t, want, second[i], 1e-4*(1+math.Abs(want)), "%s″(%v) of the twin", name, x)
				}
			})
		}
	}
}

func TestConventionsAtKinks(t *testing.T) {
	for name, want := range map[string]float32{"relu": 0, "leaky-relu": 1, "absolute": 0, "softplus": 0.5, "elu": 1, "selu": 1.7580993, "symmetric-log": 1, "softsign": 1, "hard-tanh": 1} {
		b, x, y := trace(Named(name), 1)
		b.Output("dy", b.Gradients(y, x)[0])
		p := b.Compile()
		p.Run(0)
		require.InDelta(t, want, p.Output("dy")[0], 1e-6, name)
	}
}

// layer runs an activation over [examples][units].
func layer(t *testing.T, a Activation, x [][]float64) (y, dx []float32) {
	t.Helper()
	b := graph.NewBuilder()
	in := b.Input("x", len(x), len(x[0]))
	out := a.Apply(b, in)
	b.Output("y", out)
	w := b.Input("w", out.Shape()...) // what a loss would weigh the outputs with
	b.Output("dx", b.Gradients(b.Mul(out, w), in)[0])
	p := b.Compile()
	for i, row := range x {
		for j, v := range row {
			p.Input("x")[i*len(row)+j] = float32(v)
		}
	}
	for i := range p.Input("w") {
		p.Input("w")[i] = float32(weight(i))
	}
	p.Run(0)
	return p.Output("y"), p.Output("dx")
}

func weight(i int) float64 { return float64(i%5) - 1.5 }

func TestActivationsAcrossUnits(t *testing.T) {
	x := [][]float64{{0.3, -1.2, 2.5, 0.9, 4, -0.1}, {1, 1.9, 0.5, 0.25, -3, 1.5}, {0.7, 0.7, 0.7, 0.7, 0.7, 0.7}}
	gate := func(row []float64, alpha, z float64) []float64 {
		var mean, square float64
		for _, v := range row {
			mean += v / float64(len(row))
		}
		for _, v := range row {
			square += (v - mean) * (v - mean) / float64(len(row))
		}
		g := make([]float64, len(row))
		for i, v := range row {
			g[i] = alpha * (v - mean - z*math.Sqrt(square))
		}
		return g
	}
	for name, f := range map[string]func(row []float64) []float64{
		"ash": func(row []float64) []float64 {
			g := gate(row, 3, 0.5)
			for i, v := range row {
				g[i] = v * sigma(g[i])
			}
			return g
		},
		"hard-ash": func(row []float64) []float64 {
			g := gate(row, 3, 0.5)
			for i, v := range row {
				g[i] = clip(v, 0, 2) * clip(g[i]+3, 0, 6) / 6
			}
			return g
		},
		"top-k": func(row []float64) []float64 {
			last := nthLargest(row, 4)
			out := make([]float64, len(row))
			left := 4 // of equals those that come first
			for i, v := range row {
				if v >= last && left > 0 {
					out[i] = v
					left--
				}
			}
			return out
		},
		"top-k-subtract": func(row []float64) []float64 {
			last := nthLargest(row, 4)
			out := make([]float64, len(row))
			for i, v := range row {
				out[i] = relu(v - last)
			}
			return out
		},
		"local-winner": func(row []float64) []float64 {
			out := make([]float64, len(row))
			for i := 0; i < len(row); i += 4 { // a group of 4 and one of 2
				group := row[i:min(i+4, len(row))]
				at := slices.Index(group, slices.Max(group))
				out[i+at] = group[at]
			}
			return out
		},
		"crelu": func(row []float64) []float64 {
			var a, b []float64
			for _, v := range row {
				a, b = append(a, relu(v)), append(b, relu(-v))
			}
			return append(a, b...)
		},
		"fourier": func(row []float64) []float64 {
			var a, b []float64
			for _, v := range row {
				a, b = append(a, math.Sin(v)), append(b, math.Cos(v))
			}
			return append(a, b...)
		},
	} {
		a := Named(name)
		switch name {
		case "ash", "hard-ash":
			a = named(t, name, map[string]float64{"z": 0.5})
		case "local-winner":
			a = named(t, name, map[string]float64{"size": 4})
		}
		require.Equal(t, name == "crelu" || name == "fourier", a.Outputs() == 2)
		y, dx := layer(t, a, x)
		at := 0
		for i, row := range x {
			want := f(row)
			for _, v := range want {
				require.InDelta(t, v, y[at], 2e-6, "%s of row %d", name, i)
				at++
			}
			if i == 2 {
				continue // its deviation is 0: no derivative
			}
			for j := range row {
				const h = 1e-6
				shifted := func(d float64) (sum float64) {
					r := slices.Clone(row)
					r[j] += d
					for k, v := range f(r) {
						sum += v * weight(i*len(want)+k)
					}
					return sum
				}
				require.InDelta(t, (shifted(h)-shifted(-h))/(2*h), dx[i*len(row)+j], 2e-5, "%s: derivative by unit %d of row %d", name, j, i)
			}
		}
		require.Len(t, y, at)
		for _, v := range dx {
			require.False(t, math.IsNaN(float64(v)), name)
		}
	}
}

func nthLargest(row []float64, n int) float64 {
	sorted := slices.Sorted(slices.Values(row))
	return sorted[len(sorted)-n]
}

func TestGains(t *testing.T) {
	for name, want := range map[string]float64{"linear": 1, "sigmoid": 1, "tanh": 5.0 / 3, "relu": math.Sqrt2, "selu": 0.75} { // torch.nn.init.calculate_gain
		require.InDelta(t, want, Named(name).Gain(), 1e-12, name)
	}
	require.InDelta(t, math.Sqrt(2/(1+0.04)), named(t, "leaky-relu", map[string]float64{"slope": 0.2}).Gain(), 1e-12)
	// E[z²·Φ(z)²] for standard normal z, by quadrature.
	var sum float64
	for x := -10.0; x < 10; x += 1e-3 {
		sum += 1e-3 * math.Pow(x*phi(x), 2) * math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
	}
	require.InDelta(t, 1/math.Sqrt(sum), Named("gelu").Gain(), 1e-3)
	require.InDelta(t, math.Sqrt2, Named("hard-shrink").Gain()*math.Sqrt2, 0.2)
	require.InDelta(t, 1/math.Sqrt(3), Named("cubic").Gain()*math.Sqrt(5), 1e-3, "E[z⁶] is 15")
	for _, name := range Names() {
		g := Named(name).Gain()
		require.True(t, g > 0 && g < 100, "%s: gain %v", name, g)
	}
}

func TestInSpecs(t *testing.T) {
	var a Activation
	require.NoError(t, json.Unmarshal([]byte(`"relu"`), &a))
	require.Equal(t, "relu", a.Name())
	b, err := json.Marshal(a)
	require.NoError(t, err)
	require.JSONEq(t, `"relu"`, string(b))
	require.NoError(t, json.Unmarshal([]byte(`{"kind": "elephant", "a": 0.1}`), &a))
	b, err = json.Marshal(a)
	require.NoError(t, err)
	require.JSONEq(t, `{"kind": "elephant", "a": 0.1, "d": 4}`, string(b))
	for _, tc := range []struct{ in, want string }{
		{`"rel"`, `unknown activation "rel", did you mean "relu"?`},
		{`{"kind": "elephant", "d": 0.5}`, "d: must be between 1 and 64, is 0.5"},
		{`{"kind": "relu", "slope": 0.5}`, "slope: relu has no such parameter"},
		{`3`, "must be the name of a activation, or an object"},
	} {
		require.ErrorContains(t, json.Unmarshal([]byte(tc.in), &a), tc.want)
	}
	require.Panics(t, func() { Named("rleu") })
}
