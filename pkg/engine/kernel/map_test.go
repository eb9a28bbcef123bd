package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// evaluate runs a program element by element, by its definition.
func evaluate(s *MapSpec, n int, arrays [][]float32, scalars []float32) [][]float32 {
	outs := make([][]float32, len(s.Outputs))
	values := make([]float32, s.Arrays+s.Scalars+len(s.Code))
	copy(values[s.Arrays:], scalars)
	for i := range n {
		for k := range arrays {
			values[k] = arrays[k][i]
		}
		for k := range s.Code {
			o := &s.Code[k]
			var args []float32
			for _, v := range o.Args() {
				args = append(args, values[v])
			}
			values[s.Arrays+s.Scalars+k] = element(o.Op, args...)
		}
		for k, v := range s.Outputs {
			outs[k] = append(outs[k], values[v])
		}
	}
	return outs
}

// checkMap runs a program as NewMap prepares it and by its interpreter, with
// outputs over arrays and elsewhere, and compares with its definition.
func checkMap(t require.TestingT, s MapSpec, n int, fused bool, seed uint64) {
	m := NewMap(s)
	require.Equal(t, fused && active != Generic, m.Fused())
	fill := []func(int, uint64) []float32{random, sprinkled, anyBits}[seed%3]
	inputs := make([][]float32, s.Arrays)
	for i := range inputs {
		inputs[i] = fill(n, seed+uint64(i))
	}
	scalars := random(s.Scalars, seed+99)
	want := evaluate(&s, n, inputs, scalars)
	for _, how := range []string{"run", "interpret"} {
		arrays, outs := make([][]float32, s.Arrays), make([][]float32, len(s.Outputs))
		for i := range arrays {
			arrays[i] = clone(inputs[i])
		}
		for i, a := range s.Alias {
			outs[i] = make([]float32, n+3)
			if a >= 0 {
				outs[i] = arrays[a]
			}
		}
		if how == "run" {
			m.Run(n, arrays, scalars, outs)
		} else {
			m.interpret(n, arrays, scalars, outs)
		}
		for i := range outs {
			for k := range n {
				if !sameBits(want[i][k], outs[i][k]) {
					require.Fail(t, "bits differ", "%s on %s, n=%d: output %d[%d] is %x, want %x; %+v", how, active, n, i, k, outs[i][k], want[i][k], s)
				}
			}
			if s.Alias[i] < 0 {
				require.Equal(t, []float32{0, 0, 0}, outs[i][n:], "beyond the end")
			}
		}
		for i := range arrays {
			if !slices.Contains(s.Alias, i) {
				requireSame(t, inputs[i], arrays[i])
			}
		}
	}
}

func requireSame(t require.TestingT, want, got []float32) {
	for i := range want {
		if !sameBits(want[i], got[i]) {
			require.Fail(t, "an input has changed", "element %d", i)
		}
	}
}

func TestPatterns(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for i := range spec.Patterns {
			p := &spec.Patterns[i]
			t.Run(p.Name, func(t *testing.T) {
				for _, n := range append(lengths(67), 257, 1025, 3000) {
					if n > 0 {
						checkMap(t, p.Map, n, true, uint64(n))
					}
				}
				elsewhere := p.Map
				elsewhere.Alias = slices.Repeat([]int{-1}, len(p.Outputs))
				checkMap(t, elsewhere, 100, true, 1)
			})
		}
	})
}

func pattern(name string) (MapSpec, bool) {
	i := slices.IndexFunc(spec.Patterns, func(p spec.Pattern) bool { return p.Name == name })
	if i < 0 {
		return MapSpec{}, false
	}
	return spec.Patterns[i].Map, true
}

// shuffled is the same program under other numbers, with the operands of
// additions and multiplications exchanged at random.
func shuffled(t *rapid.T, s MapSpec) MapSpec {
	inputs := s.Arrays + s.Scalars
	number := make([]int, inputs, inputs+len(s.Code))
	copy(number, rapid.Permutation(numbers(0, s.Arrays)).Draw(t, "arrays"))
	copy(number[s.Arrays:], rapid.Permutation(numbers(s.Arrays, s.Scalars)).Draw(t, "scalars"))
	r := MapSpec{Arrays: s.Arrays, Scalars: s.Scalars, Code: make([]MapOp, 0, len(s.Code))}
	// Another order of the instructions in which each comes after its operands.
	done := make([]bool, len(s.Code))
	where := make([]int, len(s.Code))
	for len(r.Code) < len(s.Code) {
		var ready []int
		for i := range s.Code {
			ok := !done[i]
			for _, v := range s.Code[i].Args() {
				ok = ok && (v < inputs || done[v-inputs])
			}
			if ok {
				ready = append(ready, i)
			}
		}
		i := rapid.SampledFrom(ready).Draw(t, "next")
		o := s.Code[i]
		for k, v := range o.Args() {
			if v < inputs {
				v = number[v]
			} else {
				v = inputs + where[v-inputs]
			}
			*[]*int{&o.A, &o.B, &o.C}[k] = v
		}
		if (o.Op == Add || o.Op == Mul) && rapid.Bool().Draw(t, "exchange") {
			o.A, o.B = o.B, o.A
		}
		done[i], where[i] = true, len(r.Code)
		r.Code = append(r.Code, o)
	}
	for _, i := range rapid.Permutation(numbers(0, len(s.Outputs))).Draw(t, "outputs") {
		r.Outputs = append(r.Outputs, inputs+where[s.Outputs[i]-inputs])
		a := s.Alias[i]
		if a >= 0 {
			a = number[a]
		}
		r.Alias = append(r.Alias, a)
	}
	return r
}

func numbers(from, n int) []int {
	x := make([]int, n)
	for i := range x {
		x[i] = from + i
	}
	return x
}

func TestPatternsAreRecognisedUnderOtherNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(spec.Patterns).Draw(t, "pattern")
		checkMap(t, shuffled(t, p.Map), rapid.IntRange(1, 40).Draw(t, "n"), true, rapid.Uint64Range(0, 99).Draw(t, "seed"))
	})
}

func TestOneScalarMayStandForSeveral(t *testing.T) {
	p, ok := pattern("Momentum") // with momentum = rate
	require.True(t, ok)
	s := MapSpec{Arrays: p.Arrays, Scalars: 1, Outputs: slices.Clone(p.Outputs), Alias: p.Alias}
	for _, o := range p.Code {
		for _, v := range []*int{&o.A, &o.B, &o.C} {
			if *v > p.Arrays {
				*v--
			}
		}
		s.Code = append(s.Code, o)
	}
	for i := range s.Outputs {
		s.Outputs[i]--
	}
	eachISA(t, func(t *testing.T) { checkMap(t, s, 33, true, 1) })
}

func TestAlmostPatternsAreInterpreted(t *testing.T) {
	p, _ := pattern("SGD")
	wrong := func(change func(s *MapSpec)) {
		s := p
		s.Code = slices.Clone(p.Code)
		s.Outputs, s.Alias = slices.Clone(p.Outputs), slices.Clone(p.Alias)
		change(&s)
		checkMap(t, s, 20, false, 1)
	}
	wrong(func(s *MapSpec) { s.Code[1].A, s.Code[1].B = s.Code[1].B, s.Code[1].A }) // lr·g − w
	wrong(func(s *MapSpec) { s.Code[1].Op = Max })
	wrong(func(s *MapSpec) { s.Code[0].B = 0 }) // g is not read: w − lr·w
	wrong(func(s *MapSpec) { s.Outputs = append(s.Outputs, 3); s.Alias = append(s.Alias, -1) })
}

// TestRandomMaps compares programs of any shape with their definition: values
// read often or never, outputs that are inputs, single numbers, exchanges of
// arrays.
func TestRandomMaps(t *testing.T) {
	ops := numbers(0, int(spec.Ops))
	rapid.Check(t, func(t *rapid.T) {
		s := MapSpec{Arrays: rapid.IntRange(0, 4).Draw(t, "arrays"), Scalars: rapid.IntRange(1, 3).Draw(t, "scalars")}
		inputs := s.Arrays + s.Scalars
		for i := range rapid.IntRange(0, 14).Draw(t, "code") {
			v := rapid.IntRange(0, inputs+i-1)
			s.Code = append(s.Code, MapOp{Op: Op(rapid.SampledFrom(ops).Draw(t, "op")), A: v.Draw(t, "a"), B: v.Draw(t, "b"), C: v.Draw(t, "c")})
		}
		over := rapid.Permutation(numbers(0, s.Arrays)).Draw(t, "over")
		for range rapid.IntRange(1, 4).Draw(t, "outputs") {
			s.Outputs = append(s.Outputs, rapid.IntRange(0, inputs+len(s.Code)-1).Draw(t, "output"))
			a := -1
			if len(over) > 0 && rapid.Bool().Draw(t, "alias") {
				a, over = over[0], over[1:]
			}
			s.Alias = append(s.Alias, a)
		}
		fused := NewMap(s).pattern >= 0
		n := rapid.SampledFrom([]int{1, 2, 5, 16, 63, 255, 256, 1024, 1300}).Draw(t, "n")
		seed := rapid.Uint64Range(0, 99).Draw(t, "seed")
		for _, isa := range Available() {
			restore := ForceISA(isa)
			checkMap(t, s, n, fused, seed)
			restore()
		}
	})
}

func TestMapMisusePanics(t *testing.T) {
	for name, s := range map[string]MapSpec{
		"forward reference":   {Arrays: 1, Code: []MapOp{{Op: Neg, A: 1}}},
		"negative":            {Arrays: 1, Code: []MapOp{{Op: Add, A: 0, B: -1}}},
		"no such op":          {Arrays: 1, Code: []MapOp{{Op: spec.Ops}}},
		"no such output":      {Arrays: 1, Outputs: []int{1}, Alias: []int{-1}},
		"alias missing":       {Arrays: 1, Outputs: []int{0}},
		"no such alias":       {Arrays: 1, Outputs: []int{0}, Alias: []int{1}},
		"alias used twice":    {Arrays: 1, Outputs: []int{0, 0}, Alias: []int{0, 0}},
		"negative arrays":     {Arrays: -1},
		"third operand":       {Arrays: 1, Code: []MapOp{{Op: Fma, C: 7}}},
		"second output wrong": {Arrays: 1, Outputs: []int{0, 9}, Alias: []int{-1, -1}},
	} {
		require.Panics(t, func() { NewMap(s) }, name)
	}
	p, _ := pattern("SGD")
	m := NewMap(p)
	w, g := make([]float32, 8), make([]float32, 8)
	m.Run(0, [][]float32{nil, nil}, []float32{1}, [][]float32{nil})
	for name, f := range map[string]func(){
		"arrays":  func() { m.Run(8, [][]float32{w}, []float32{1}, [][]float32{w}) },
		"scalars": func() { m.Run(8, [][]float32{w, g}, nil, [][]float32{w}) },
		"outputs": func() { m.Run(8, [][]float32{w, g}, []float32{1}, nil) },
		"short":   func() { m.Run(9, [][]float32{w, g}, []float32{1}, [][]float32{w}) },
		"short w": func() { m.Run(8, [][]float32{w, g}, []float32{1}, [][]float32{w[:7]}) },
	} {
		require.Panics(t, f, name)
	}
}

// tenOps is a program that is no pattern: w ← w − lr·tanh((g + λ·w)·r + a)².
func tenOps() MapSpec {
	return MapSpec{Arrays: 3, Scalars: 3, Outputs: []int{15}, Alias: []int{0}, Code: []MapOp{
		{Op: Mul, A: 3, B: 0}, {Op: Add, A: 1, B: 6}, {Op: Mul, A: 7, B: 4}, {Op: Add, A: 8, B: 2}, {Op: Abs, A: 9},
		{Op: Max, A: 10, B: 1}, {Op: Square, A: 11}, {Op: ReLU, A: 12}, {Op: Mul, A: 5, B: 13}, {Op: Sub, A: 0, B: 14},
	}}
}

func mapArguments(s *MapSpec, n int) (arrays [][]float32, scalars []float32, outs [][]float32) {
	for i := range s.Arrays {
		x := random(n, uint64(i))
		for k := range x {
			x[k] = x[k]*x[k] + 0.25 // roots are not of negative numbers
		}
		arrays = append(arrays, x)
	}
	for range s.Scalars {
		scalars = append(scalars, 0.5)
	}
	for i := range s.Outputs {
		if a := s.Alias[i]; a >= 0 {
			outs = append(outs, arrays[a])
		} else {
			outs = append(outs, make([]float32, n))
		}
	}
	return arrays, scalars, outs
}

func TestRunAllocatesNothing(t *testing.T) {
	adam, _ := pattern("Adam")
	eachISA(t, func(t *testing.T) {
		for _, s := range []MapSpec{adam, tenOps()} {
			for _, n := range []int{5, 2000} {
				m := NewMap(s)
				arrays, scalars, outs := mapArguments(&s, n)
				require.Zero(t, testing.AllocsPerRun(10, func() { m.Run(n, arrays, scalars, outs) }))
			}
		}
	})
}

// TestAdamIsAdam checks a pattern against the formula in float64.
func TestAdamIsAdam(t *testing.T) {
	p, _ := pattern("Adam")
	arrays, _, outs := mapArguments(&p, 50)
	w, g, ms, vs := clone(arrays[0]), clone(arrays[1]), clone(arrays[2]), clone(arrays[3])
	// In the order of the pattern: β1, 1−β1, β2, 1−β2, a, r, ε.
	NewMap(p).Run(50, arrays, []float32{0.9, 0.1, 0.99, 0.01, 0.002, 1.5, 1e-3}, outs)
	for i := range w {
		m := 0.9*float64(ms[i]) + 0.1*float64(g[i])
		v := 0.99*float64(vs[i]) + 0.01*float64(g[i])*float64(g[i])
		require.InEpsilon(t, m, arrays[2][i], 1e-6)
		require.InEpsilon(t, v, arrays[3][i], 1e-6)
		require.InEpsilon(t, float64(w[i])-0.002*m/(math.Sqrt(v)*1.5+1e-3), arrays[0][i], 1e-6)
	}
}

func BenchmarkMap(b *testing.B) {
	bench := func(name string, s MapSpec, n int) {
		m := NewMap(s)
		arrays, scalars, outs := mapArguments(&s, n)
		b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
			benchISA(b, n, func() { m.Run(n, arrays, scalars, outs) })
		})
	}
	for _, n := range []int{5, 1000, 16000} {
		for _, name := range []string{"SGD", "Momentum", "RMSProp", "Adam", "AddReLU"} {
			p, _ := pattern(name)
			bench(name, p, n)
		}
		bench("ten ops", tenOps(), n)
	}
}
