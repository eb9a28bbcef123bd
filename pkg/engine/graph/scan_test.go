package graph

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/rng"
)

// recurrence is a small recurrent network with a loss at every step, as a loop
// or step after step.
type recurrence struct {
	s        *Store
	w, u, h0 *Var
	b        *Builder
	xs       Node
}

const recurrenceSteps = 6

func newRecurrence() *recurrence {
	r := &recurrence{s: NewStore(), b: NewBuilder()}
	r.w, r.u, r.h0 = r.s.New("w", F32, Persistent, 3, 4), r.s.New("u", F32, Persistent, 4, 4), r.s.New("h0", F32, Persistent, 2, 4)
	for i, v := range r.s.Vars() {
		rng.New(1, "scan").FillUniform(v.F32, -1, 1, uint64(i))
	}
	r.xs = r.b.Input("xs", recurrenceSteps, 2, 3)
	return r
}

func (r *recurrence) step(b *Builder, h, x Node) (next, loss Node) {
	h = b.Tanh(b.Add(b.MatMul(x, b.Read(r.w)), b.MatMul(h, b.Read(r.u))))
	return h, b.Mean(b.Square(h))
}

func (r *recurrence) finish(h, loss Node) *Program {
	b := r.b
	b.Output("h", h)
	b.Output("loss", loss)
	for i, g := range b.Gradients(loss, b.Read(r.w), b.Read(r.u), b.Read(r.h0), r.xs) {
		b.Output(fmt.Sprint("g", i), g)
	}
	p := b.Compile()
	rng.New(2, "xs").FillUniform(p.Input("xs"), -1, 1, 0)
	return p
}

func (r *recurrence) unrolled(steps int) *Program {
	h, loss := r.b.Read(r.h0), Node{}
	for t := range steps {
		var l Node
		h, l = r.step(r.b, h, r.b.Reshape(r.b.SliceAxis(r.xs, 0, t, t+1), 2, 3))
		if loss.Valid() {
			l = r.b.Add(loss, l)
		}
		loss = l
	}
	return r.finish(h, loss)
}

func (r *recurrence) scanned(count Node) *Program {
	final, outs := r.b.Scan(Loop{Steps: recurrenceSteps, Count: count, Carry: []Node{r.b.Read(r.h0)}, Each: []Node{r.xs},
		Body: func(b *Builder, carry, each, _ []Node) (next, out []Node) {
			h, loss := r.step(b, carry[0], each[0])
			return []Node{h}, []Node{loss}
		}})
	return r.finish(final[0], r.b.Sum(outs[0]))
}

func TestScanIsTheUnrolledRecurrence(t *testing.T) {
	for _, steps := range []int{1, 4, recurrenceSteps} {
		a, z := newRecurrence(), newRecurrence()
		unrolled := a.unrolled(steps)
		scanned := z.scanned(z.b.Labels("count", 1))
		scanned.Labels("count")[0] = int32(steps)
		for range 2 { // the second run finds nothing of the first
			unrolled.Run(0)
			scanned.Run(0)
			require.Equal(t, unrolled.Output("h"), scanned.Output("h"))
			for _, name := range []string{"loss", "g0", "g1", "g2", "g3"} {
				want, got := unrolled.Output(name), scanned.Output(name)
				for i := range want {
					require.InDelta(t, want[i], got[i], 2e-6, "%d steps: %s[%d]", steps, name, i)
				}
			}
		}
		require.Zero(t, testing.AllocsPerRun(2, func() { scanned.Run(0) }))
	}
}

func TestScanOfNoSteps(t *testing.T) {
	r := newRecurrence()
	p := r.scanned(r.b.Labels("count", 1))
	p.Run(0)
	require.Equal(t, r.h0.F32, p.Output("h"))
	for _, name := range []string{"loss", "g0", "g1", "g2", "g3"} {
		for _, v := range p.Output(name) {
			require.Zero(t, v)
		}
	}
	for _, n := range []int32{-1, recurrenceSteps + 1} {
		p.Labels("count")[0] = n
		require.Panics(t, func() { p.Run(0) })
	}
}

// Noise differs from step to step and is the same in the backward pass: the
// gradient of Σ noise·x is the noise that the forward pass saw.
func TestScanNoise(t *testing.T) {
	b := NewBuilder()
	x := b.Input("x", 4, 3)
	_, outs := b.Scan(Loop{Steps: 4, Each: []Node{x}, Body: func(b *Builder, _, each, _ []Node) (next, out []Node) {
		return nil, []Node{b.Mul(each[0], b.Normal(rng.New(1, "noise"), 3))}
	}})
	b.Output("y", outs[0])
	b.Output("dx", b.Gradients(outs[0], x)[0])
	p := b.Compile()
	for i := range p.Input("x") {
		p.Input("x")[i] = 1
	}
	p.Run(5)
	y := append([]float32(nil), p.Output("y")...)
	require.Equal(t, y, p.Output("dx"))
	for i, v := range y {
		require.NotContains(t, y[:i], v)
	}
	p.Run(6)
	for _, v := range p.Output("y") {
		require.NotContains(t, y, v)
	}
}

// The program does not grow with the number of steps.
func TestScanIsOneInstruction(t *testing.T) {
	r := newRecurrence()
	p := r.scanned(Node{})
	require.Less(t, len(p.code), 40)
	require.Less(t, len(r.b.nodes), 80)
}

func TestScanMistakes(t *testing.T) {
	carry := func(b *Builder) []Node { return []Node{b.Fill(0, []int{2})} }
	same := func(_ *Builder, carry, _, _ []Node) (next, out []Node) { return carry, nil }
	for name, f := range map[string]func(b *Builder){
		"no steps":       func(b *Builder) { b.Scan(Loop{Steps: 0, Each: []Node{b.Input("x", 3)}, Carry: carry(b), Body: same}) },
		"rows":           func(b *Builder) { b.Scan(Loop{Steps: 2, Each: []Node{b.Input("x", 3)}, Carry: carry(b), Body: same}) },
		"no rows":        func(b *Builder) { b.Scan(Loop{Steps: 2, Each: []Node{b.Const(1)}, Carry: carry(b), Body: same}) },
		"labels":         func(b *Builder) { b.Scan(Loop{Steps: 2, Each: []Node{b.Labels("x", 2)}, Carry: carry(b), Body: same}) },
		"count":          func(b *Builder) { b.Scan(Loop{Steps: 2, Count: b.Const(1), Carry: carry(b), Body: same}) },
		"nothing":        func(b *Builder) { b.Scan(Loop{Steps: 2, Body: same}) },
		"too many steps": func(b *Builder) { b.Scan(Loop{Steps: 1 << 40, Carry: carry(b), Body: same}) },
		"foreign carry": func(b *Builder) {
			b.Scan(Loop{Steps: 2, Carry: carry(b), Body: func(*Builder, []Node, []Node, []Node) (next, out []Node) { return carry(b), nil }})
		},
		"foreign result": func(b *Builder) {
			b.Scan(Loop{Steps: 2, Carry: carry(b), Body: func(_ *Builder, c, _, _ []Node) (next, out []Node) { return c, carry(b) }})
		},
		"outer value": func(b *Builder) {
			x := carry(b)[0]
			b.Scan(Loop{Steps: 2, Carry: carry(b), Body: func(in *Builder, c, _, _ []Node) (next, out []Node) {
				return []Node{in.Add(c[0], x)}, nil
			}})
		},
		"carry's shape": func(b *Builder) {
			b.Scan(Loop{Steps: 2, Carry: carry(b), Body: func(b *Builder, c, _, _ []Node) (next, out []Node) { return []Node{b.Sum(c[0])}, nil }})
		},
		"carry's length": func(b *Builder) {
			b.Scan(Loop{Steps: 2, Carry: carry(b), Body: func(*Builder, []Node, []Node, []Node) (next, out []Node) { return nil, nil }})
		},
		"input": func(b *Builder) {
			b.Scan(Loop{Steps: 2, Carry: carry(b), Body: func(b *Builder, c, _, _ []Node) (next, out []Node) {
				b.Input("x", 1)
				return c, nil
			}})
		},
	} {
		t.Run(name, func(t *testing.T) { requireMistake(t, f) })
	}
}

// requireMistake runs f, which is to panic with an *Error.
func requireMistake(t *testing.T, f func(b *Builder)) {
	t.Helper()
	err := func() (err error) {
		defer Catch(&err)
		f(NewBuilder())
		return nil
	}()
	require.Error(t, err)
}
