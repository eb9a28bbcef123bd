package kernel

import (
	"flag"
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/kernel/internal/spec"
)

var exhaustive = flag.Bool("exhaustive", false, "compare the functions of one argument on every float32")

func TestUnaryIsTheSameOnEveryISA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for op := Copy; op < Add; op++ {
			for _, n := range lengths(80) { // up to a whole unrolled round of the widest
				for in := range inputs(t, n, 2) {
					y, x := in[0], in[1]
					want := make([]float32, n)
					unaryGo(op, want, x)
					Unary(op, y, x)
					requireBits(t, want, y, "%s n=%d", op, n)
					Unary(op, x, x)
					requireBits(t, want, x, "%s in place n=%d", op, n)
				}
			}
			// Many values, in the range where a function does something.
			x, want, y := make([]float32, 50_000), make([]float32, 50_000), make([]float32, 50_000)
			for i, v := range anyBits(len(x), uint64(op)) {
				x[i] = math.Float32frombits(math.Float32bits(v)&(1<<31|1<<23-1) | uint32(127-30+i%50)<<23)
			}
			unaryGo(op, want, x)
			Unary(op, y, x)
			for i := range y {
				if !sameBits(want[i], y[i]) {
					require.Fail(t, "bits differ", "%s(%x) = %x, want %x", op, x[i], y[i], want[i])
				}
			}
		}
	})
}

// arguments of the functions of several arguments: every choice of single ones.
func operandForms(op Op, n int, in [][]float32, check func(single int, args [][]float32)) {
	for single := range 1 << op.Arity() {
		args := make([][]float32, op.Arity())
		for i := range args {
			args[i] = in[i]
			if single>>i&1 != 0 {
				args[i] = in[i][n/2 : n/2+1]
			}
		}
		check(single, args)
	}
}

// element evaluates op by its definition for one element.
func element(op Op, args ...float32) float32 {
	y := []float32{0}
	switch op.Arity() {
	case 1:
		unaryGo(op, y, args[:1])
	case 2:
		binaryGo(op, 0, y, args[:1], args[1:2])
	default:
		ternaryGo(op, 0, y, args[:1], args[1:2], args[2:3])
	}
	return y[0]
}

func run(op Op, y []float32, args [][]float32) {
	switch op.Arity() {
	case 1:
		Unary(op, y, args[0])
	case 2:
		Binary(op, y, args[0], args[1])
	default:
		Ternary(op, y, args[0], args[1], args[2])
	}
}

func TestBinaryAndTernaryAreTheSameOnEveryISA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for op := Add; op < spec.Ops; op++ {
			for _, n := range append(lengths(66)[1:], 130, 257) {
				for in := range inputs(t, n, 1+op.Arity()) {
					y := in[0]
					operandForms(op, n, in[1:], func(single int, args [][]float32) {
						want := make([]float32, n)
						v := make([]float32, len(args))
						for i := range want {
							for k := range args {
								v[k] = args[k][i%len(args[k])]
							}
							want[i] = element(op, v...)
						}
						run(op, y, args)
						requireBits(t, want, y, "%s form %d n=%d", op, single, n)
						for k := range args {
							if len(args[k]) == n { // in place
								save := clone(args[k])
								run(op, args[k], args)
								requireBits(t, want, args[k], "%s form %d n=%d over operand %d", op, single, n, k)
								copy(args[k], save)
							}
						}
					})
				}
			}
			run(op, nil, [][]float32{{1}, {1}, {1}}) // nothing to do
		}
	})
}

func TestLongArraysAreCutIntoStretches(t *testing.T) {
	const n = 2*mapStretch + 77
	a, b, c := random(n, 1), random(n, 2), random(n, 3)
	eachISA(t, func(t *testing.T) {
		y := make([]float32, n)
		Unary(Neg, y, a)
		for i := range y {
			require.True(t, sameBits(-a[i], y[i]))
		}
		Binary(Sub, y, a, b)
		for i := range y {
			require.True(t, sameBits(a[i]-b[i], y[i]))
		}
		Ternary(Fma, y, a, b[:1], c)
		for i := range y {
			require.True(t, sameBits(fma32(a[i], b[0], c[i]), y[i]))
		}
	})
}

func TestMisuseOfElementwisePanics(t *testing.T) {
	x := make([]float32, 9)
	eachISA(t, func(t *testing.T) {
		require.Panics(t, func() { Unary(Add, x, x) })
		require.Panics(t, func() { Unary(Exp, x, x[:8]) })
		require.Panics(t, func() { Binary(Exp, x, x, x) })
		require.Panics(t, func() { Binary(Add, x, x[:2], x) })
		require.Panics(t, func() { Ternary(Add, x, x, x, x) })
		require.Panics(t, func() { Ternary(Fma, x, x, x, x[:8]) })
		require.Panics(t, func() { Ternary(Fma, x, x, nil, x) })
	})
	require.Equal(t, "?", Op(200).String())
}

// ulps is |got − want| in units of the last place of a float32 near want.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	switch {
	case want != want || got != got:
		if want != want && got != got {
			return 0
		}
		return math.Inf(1)
	case math.IsInf(float64(w), 0) || math.IsInf(float64(got), 0):
		if w == got {
			return 0
		}
		return math.Inf(1)
	}
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

// TestAccuracy holds the functions to the errors that their documentation
// names, on one in 4099 of all float32 (all of them with -exhaustive).
func TestAccuracy(t *testing.T) {
	step := uint64(4099)
	if *exhaustive {
		step = 1
	}
	sigma := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		op       Op
		f        func(float64) float64
		from, to float32 // where the bound holds, by absolute value of x
		bound    float64
	}{
		{Exp, math.Exp, 0, inf, 1.02},
		{Expm1, math.Expm1, 0, inf, 1.5},
		{Log, math.Log, 0, inf, 0.9},
		{Log1p, math.Log1p, 0, inf, 1},
		{Tanh, math.Tanh, 0, inf, 1.4},
		{Sigmoid, sigma, 0, 88, 2.5},
		{Erf, math.Erf, 0, inf, 1.2},
		{Sin, math.Sin, 0, 1 << 27, 1.6},
		{Cos, math.Cos, 0, 1 << 27, 1.6},
		{Sqrt, math.Sqrt, 0, inf, 0.5},
		{Floor, math.Floor, 0, inf, 0},
	} {
		t.Run(c.op.String(), func(t *testing.T) {
			x, y := make([]float32, 0, 1<<14), make([]float32, 1<<14)
			var worst float64
			var at float32
			flush := func() {
				Unary(c.op, y[:len(x)], x)
				for i, v := range x {
					if u := ulps(y[i], c.f(float64(v))); u > worst {
						worst, at = u, v
					}
				}
				x = x[:0]
			}
			for b := uint64(0); b < 1<<32; b += step {
				v := math.Float32frombits(uint32(b))
				if v != v || abs32(v) >= c.from && abs32(v) <= c.to {
					if x = append(x, v); len(x) == cap(x) {
						flush()
					}
				}
			}
			flush()
			t.Logf("largest error %.3f ulp, at %v (%x)", worst, at, at)
			require.LessOrEqual(t, worst, c.bound, "at %v", at)
		})
	}
}

var inf = float32(math.Inf(1))

func TestExactCases(t *testing.T) {
	nan := float32(math.NaN())
	negZero := float32(math.Copysign(0, -1))
	eachISA(t, func(t *testing.T) {
		for _, c := range []struct {
			op   Op
			x, y float32
		}{
			{Exp, 0, 1}, {Exp, negZero, 1}, {Exp, inf, inf}, {Exp, -inf, 0}, {Exp, 88.72284, inf}, {Exp, -103.98, 0}, {Exp, nan, nan},
			{Expm1, 0, 0}, {Expm1, negZero, negZero}, {Expm1, inf, inf}, {Expm1, -inf, -1}, {Expm1, 0x1p-149, 0x1p-149}, {Expm1, -0x1p-149, -0x1p-149}, {Expm1, nan, nan},
			{Log, 1, 0}, {Log, 0, -inf}, {Log, negZero, -inf}, {Log, -1, nan}, {Log, inf, inf}, {Log, -inf, nan}, {Log, nan, nan},
			{Log1p, 0, 0}, {Log1p, negZero, negZero}, {Log1p, -1, -inf}, {Log1p, -1.5, nan}, {Log1p, inf, inf}, {Log1p, -inf, nan}, {Log1p, 0x1p-149, 0x1p-149}, {Log1p, nan, nan},
			{Tanh, 0, 0}, {Tanh, negZero, negZero}, {Tanh, inf, 1}, {Tanh, -inf, -1}, {Tanh, 0x1p-149, 0x1p-149}, {Tanh, nan, nan},
			{Sigmoid, 0, 0.5}, {Sigmoid, inf, 1}, {Sigmoid, -inf, 0}, {Sigmoid, nan, nan},
			{Erf, 0, 0}, {Erf, negZero, negZero}, {Erf, inf, 1}, {Erf, -inf, -1}, {Erf, 4, 1}, {Erf, nan, nan},
			{Sin, 0, 0}, {Sin, negZero, negZero}, {Sin, inf, nan}, {Sin, nan, nan}, {Cos, 0, 1}, {Cos, -inf, nan}, {Cos, nan, nan},
			{Sign, negZero, negZero}, {Sign, -3, -1}, {Sign, nan, nan}, {Step, nan, 0}, {Step, 0, 0}, {Flush, Tiny, Tiny}, {Flush, -Tiny, -Tiny}, {Flush, 0x1.fffffep-101, 0}, {Flush, -0x1.fffffep-101, 0}, {Flush, negZero, 0}, {Flush, 0x1p-149, 0}, {Flush, nan, nan}, {Flush, -inf, -inf}, {ReLU, negZero, 0}, {ReLU, nan, nan}, {ReLU, -inf, 0},
			{Floor, -0.5, -1}, {Floor, negZero, negZero}, {Floor, -1, -1}, {Floor, 1e10, 1e10}, {Sqrt, negZero, negZero}, {Sqrt, -1, nan}, {Recip, 0, inf},
		} {
			y := []float32{7}
			Unary(c.op, y, []float32{c.x})
			requireBits(t, []float32{c.y}, y, "%s(%v)", c.op, c.x)
		}
	})
}

// TestHugeAngles compares sines of numbers beyond float64's own reduction with
// a reduction by math/big.
func TestHugeAngles(t *testing.T) {
	const digits = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651328230664709384460955058223172535940812848111745"
	pi, _, err := big.ParseFloat(digits, 10, 520, big.ToNearestEven)
	require.NoError(t, err)
	twoPi := new(big.Float).SetPrec(520).Mul(pi, big.NewFloat(2))
	reduce := func(x float32) float64 {
		v := new(big.Float).SetPrec(520).SetFloat64(float64(x))
		q := new(big.Float).SetPrec(520).Quo(v, twoPi)
		n, _ := q.Int(nil)
		v.Sub(v, new(big.Float).SetPrec(520).Mul(twoPi, new(big.Float).SetPrec(520).SetInt(n)))
		f, _ := v.Float64()
		return f
	}
	var x []float32
	for _, v := range anyBits(20_000, 3) {
		if a := abs32(v); a > 1000 && a <= math.MaxFloat32 {
			x = append(x, v)
		}
	}
	x = append(x, math.MaxFloat32, -math.MaxFloat32, spec.TrigMax, math.Nextafter32(spec.TrigMax, inf), 16367173*0x1p72, -16367173*0x1p72) // the last are close to a multiple of π/2
	eachISA(t, func(t *testing.T) {
		s, c := make([]float32, len(x)), make([]float32, len(x))
		Unary(Sin, s, x)
		Unary(Cos, c, x)
		for i, v := range x {
			r := reduce(v)
			require.LessOrEqual(t, ulps(s[i], math.Sin(r)), 1.5, "sin(%v)", v)
			require.LessOrEqual(t, ulps(c[i], math.Cos(r)), 1.5, "cos(%v)", v)
		}
	})
}

func FuzzElementwise(f *testing.F) {
	f.Add(uint8(Sin), uint32(0x7f000000), uint32(1), uint32(2))
	f.Fuzz(func(t *testing.T, op uint8, a, b, c uint32) {
		o := Op(op) % spec.Ops
		args := [][]float32{{math.Float32frombits(a)}, {math.Float32frombits(b)}, {math.Float32frombits(c)}}[:o.Arity()]
		v := make([]float32, len(args))
		for i := range args {
			v[i] = args[i][0]
		}
		want := element(o, v...)
		for _, isa := range Available() {
			restore := ForceISA(isa)
			y := []float32{0}
			run(o, y, args)
			restore()
			requireBits(t, []float32{want}, y, "%s of %x on %s", o, v, isa)
		}
	})
}

func BenchmarkElementwise(b *testing.B) {
	const n = 1024
	y, x, z, w := random(n, 1), random(n, 2), random(n, 3), random(n, 4)
	for op := Neg; op < spec.Ops; op++ {
		args := [][]float32{x, z, w}[:op.Arity()]
		b.Run(op.String(), func(b *testing.B) { benchISA(b, n, func() { run(op, y, args) }) })
	}
	for _, n := range []int{5, 32} {
		b.Run(fmt.Sprintf("add%d", n), func(b *testing.B) { benchISA(b, n, func() { Binary(Add, y[:n], x[:n], z[:n]) }) })
	}
}
