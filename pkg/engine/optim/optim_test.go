package optim

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
)

func TestMistakesNameTheField(t *testing.T) {
	for name, c := range map[string]struct {
		raw  map[string]any
		want string
	}{
		"no step size":      {map[string]any{"kind": "sgd", "lr": 0.0}, "o.lr: must be above 0 and at most 1000, is 0"},
		"a negative one":    {map[string]any{"kind": "momentum", "lr": -1.0}, "o.lr: must be above 0"},
		"a large one":       {map[string]any{"kind": "adam", "lr": 1001.0}, "o.lr: must be above 0 and at most 1000, is 1001"},
		"momentum 1":        {map[string]any{"kind": "momentum", "momentum": 1.0}, "o.momentum: must be in [0, 1), is 1"},
		"beta1 below 0":     {map[string]any{"kind": "adam", "beta1": -0.1}, "o.beta1: must be in [0, 1), is -0.1"},
		"beta2 1":           {map[string]any{"kind": "adamw", "beta2": 1.0}, "o.beta2: must be in [0, 1), is 1"},
		"epsilon 0":         {map[string]any{"kind": "adam", "epsilon": 0.0}, "o.epsilon: must be above 0 and at most 1, is 0"},
		"growing weights":   {map[string]any{"kind": "adamw", "weight_decay": -1.0}, "o.weight_decay: must be between 0 and 1e6, is -1"},
		"another parameter": {map[string]any{"kind": "sgd", "momentum": 0.9}, "o.momentum: sgd has no such parameter"},
	} {
		_, err := Resolve("o", c.raw)
		require.ErrorContains(t, err, c.want, name)
	}
}

// TestUpdatesAgainstTheirFormulas runs ten updates of four weights under
// changing gradients, and the same in float64 from the papers.
func TestUpdatesAgainstTheirFormulas(t *testing.T) {
	type state struct{ w, m, v, power1, power2 float64 }
	const lr, b1, b2, eps, decay = 0.1, 0.8, 0.95, 1e-3, 0.2
	adam := func(decay float64) func(*state, float64) {
		return func(s *state, g float64) {
			s.power1, s.power2 = s.power1*b1, s.power2*b2
			s.m = b1*s.m + (1-b1)*g
			s.v = b2*s.v + (1-b2)*g*g
			s.w -= lr * decay * s.w
			s.w -= lr * s.m / (1 - s.power1) / (math.Sqrt(s.v/(1-s.power2)) + eps)
		}
	}
	for kind, c := range map[string]struct {
		raw    map[string]any
		step   func(*state, float64)
		states int
	}{
		"sgd":      {map[string]any{"lr": lr}, func(s *state, g float64) { s.w -= lr * g }, 0},
		"momentum": {map[string]any{"lr": lr, "momentum": 0.7}, func(s *state, g float64) { s.m = 0.7*s.m + g; s.w -= lr * s.m }, 1},
		"adam":     {map[string]any{"lr": lr, "beta1": b1, "beta2": b2, "epsilon": eps}, adam(0), 2},
		"adamw":    {map[string]any{"lr": lr, "beta1": b1, "beta2": b2, "epsilon": eps, "weight_decay": decay}, adam(decay), 2},
	} {
		for _, perWeight := range []bool{false, true} {
			c.raw["kind"] = kind
			r, err := Resolve("o", c.raw)
			require.NoError(t, err)
			o, err := r.Build(Env{})
			require.NoError(t, err)

			store := graph.NewStore()
			p := &nn.Param{Var: store.New("w", graph.F32, graph.Persistent, 4)}
			copy(p.Var.F32, []float32{1, -2, 0, 0.5})
			tracer := NewTracer(store, graph.OfOptimizer, func(string) rng.Key { return rng.Key{} })
			tracer.States.PerWeight = perWeight
			b := graph.NewBuilder()
			b.Assign(p.Var, o.Update(tracer.Update(b, p, store.Space(graph.OfOptimizer, "optimizer"), b.Read(p.Var), b.Input("g", 4))))
			program := b.Compile()

			want := make([]state, 4)
			for i, w := range p.Var.F32 {
				want[i] = state{w: float64(w), power1: 1, power2: 1}
			}
			step := func(k int) {
				g := program.Input("g")
				for i := range g {
					g[i] = float32(math.Sin(float64(7*k + 3*i)))
				}
				program.Run(uint64(k))
				for i := range want {
					c.step(&want[i], float64(g[i]))
				}
			}
			for k := range 10 {
				step(k)
				for i, w := range p.Var.F32 {
					require.InDelta(t, want[i].w, w, 3e-6, "%s: weight %d after step %d", kind, i, k)
				}
			}
			if perWeight {
				// A weight that is made anew starts over, its neighbours do not.
				tracer.States.Reset(p, 2, 3)
				p.Var.F32[2] = 0.25
				want[2] = state{w: 0.25, power1: 1, power2: 1}
				for k := 10; k < 15; k++ {
					step(k)
					for i, w := range p.Var.F32 {
						require.InDelta(t, want[i].w, w, 3e-6, "%s: weight %d after step %d, 2 reset", kind, i, k)
					}
				}
			}
			for _, moments := range []bool{false, true} {
				// The step count starts again, with or without the moments.
				tracer.States.Restart(moments)
				for i := range want {
					want[i].power1, want[i].power2 = 1, 1
					if moments {
						want[i].m, want[i].v = 0, 0
					}
				}
				for k := 15; k < 20; k++ {
					step(k)
					for i, w := range p.Var.F32 {
						require.InDelta(t, want[i].w, w, 5e-6, "%s: weight %d after step %d, restarted", kind, i, k)
					}
				}
			}
			arrays := 0
			for _, v := range store.Vars() {
				if len(v.F32) == 4 && v != p.Var && !perWeight {
					arrays++
				}
			}
			if !perWeight {
				require.Equal(t, c.states, arrays, "%s", kind)
				if s, ok := r.Config.(interface{ StateArrays() int }); ok || c.states > 0 {
					require.Equal(t, c.states, s.StateArrays(), "%s says how much it keeps", kind)
				}
			}
		}
	}
}

// TestUpdatesHaveCodeOfTheirOwn is about speed: optimisers as they are by
// default and in presets pass over weights once.
func TestUpdatesHaveCodeOfTheirOwn(t *testing.T) {
	have := kernel.Available()
	if len(have) == 1 {
		t.Skip("a processor without assembly")
	}
	defer kernel.ForceISA(have[len(have)-1])()
	for _, d := range component.All() {
		if d.Kind != "optimizer" || d.Name == "adaptive-upgd" { // which has more numbers than there are registers
			continue
		}
		for _, preset := range append([]string{""}, slices.Sorted(maps.Keys(d.Presets))...) {
			raw := map[string]any{"kind": d.Name}
			if preset != "" {
				raw["preset"] = preset
			}
			r, err := Resolve("o", raw)
			require.NoError(t, err)
			o, err := r.Build(Env{})
			require.NoError(t, err)
			store := graph.NewStore()
			p := &nn.Param{Var: store.New("w", graph.F32, graph.Persistent, 40, 50)}
			b := graph.NewBuilder()
			u := NewTracer(store, graph.OfOptimizer, func(string) rng.Key { return rng.Key{} }).Update(b, p, store.Space(graph.OfOptimizer, "optimizer"), b.Read(p.Var), b.Input("g", 40, 50))
			if o, ok := o.(Preparer); ok {
				o.Prepare([]*Update{u})
			}
			b.Assign(p.Var, o.Update(u))
			require.Zero(t, b.Compile().Interpreted(1000), "%s %s", d.Name, preset)
		}
	}
}

func TestTracersKeepOneVariablePerPurpose(t *testing.T) {
	store := graph.NewStore()
	p := &nn.Param{Var: store.New("w", graph.F32, graph.Persistent, 2)}
	p.Var.F32[1] = 3
	tracer := NewTracer(store, graph.OfOptimizer, func(purpose string) rng.Key { return rng.New(1, purpose) })
	first := tracer.Initial(p)
	p.Var.F32[1] = 4
	require.Same(t, first, tracer.Initial(p))
	require.Equal(t, []float32{0, 3}, first.F32)
	b := graph.NewBuilder()
	u := tracer.Update(b, p, store.Space(graph.OfMethod, "method/x"), b.Read(p.Var), b.Read(p.Var))
	v := u.State("s", 0.5)
	require.Same(t, v, u.State("s", 9), "made at first use")
	require.Equal(t, []float32{0.5, 0.5}, v.F32)
	require.Equal(t, "method/x/s/w", v.Name)
	other := tracer.Update(b, p, store.Space(graph.OfOptimizer, "optimizer"), b.Read(p.Var), b.Read(p.Var))
	require.NotSame(t, v, other.State("s", 0))
	v.F32[0] = 7
	tracer.States.Reset(p, 0, 1)
	require.Equal(t, []float32{0.5, 0.5}, v.F32)
	b.Output("noise", u.Noise("n"))
	b.Output("initial", u.Initial())
	program := b.Compile()
	program.Run(3)
	seen := map[string]bool{}
	for range 2 {
		seen[fmt.Sprint(program.Output("noise"))] = true
		program.Run(4)
	}
	require.Len(t, seen, 2, "noise differs from step to step")
	require.Equal(t, []float32{0, 3}, program.Output("initial"))
}

// TestAdagradBeginsWithItsSum follows one weight by hand.
func TestAdagradBeginsWithItsSum(t *testing.T) {
	r, err := Resolve("optimizer", map[string]any{"kind": "adagrad", "lr": 0.5, "initial": 0.25})
	require.NoError(t, err)
	o, err := r.Build(Env{})
	require.NoError(t, err)
	store := graph.NewStore()
	p := &nn.Param{Var: store.New("w", graph.F32, graph.Persistent, 1)}
	p.Var.F32[0] = 1
	b := graph.NewBuilder()
	u := NewTracer(store, graph.OfOptimizer, func(purpose string) rng.Key { return rng.New(0, purpose) }).Update(b, p, store.Space(graph.OfOptimizer, "optimizer"), b.Read(p.Var), b.Input("g", 1))
	b.Assign(p.Var, o.Update(u))
	program := b.Compile()
	want, sum := 1.0, 0.25
	for step, g := range []float64{2, -1, 0.5} {
		program.Input("g")[0] = float32(g)
		program.Run(uint64(step))
		sum += g * g
		want -= 0.5 * g / math.Sqrt(sum)
		require.InEpsilon(t, want, p.Var.F32[0], 1e-6)
	}
}
