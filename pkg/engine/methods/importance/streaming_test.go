package importance

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/methods/internal/methodtest"
)

// streamed is one weight under SGD with a streaming method of Elsayed & Mahmood
// 2024, after their code, in float64. Where that takes weights to have been 0
// before the first step, this takes them to have been what they are.
type streamed struct {
	kind                               string
	lr, kappa, betaW, betaF, eps       float64
	t                                  int
	w, prev, trace, fisher, d, dg, sco float64
}

func (o *streamed) step(g float64) {
	if o.t == 0 {
		o.prev = o.w
	}
	o.t++
	cw, cf := 1-math.Pow(o.betaW, float64(o.t)), 1-math.Pow(o.betaF, float64(o.t))
	ema := func(x *float64, beta, v float64) { *x = beta**x + (1-beta)*v }
	ema(&o.trace, o.betaW, o.w)
	var strength float64
	switch o.kind {
	case "streaming-ewc":
		ema(&o.fisher, o.betaF, g*g)
		strength = o.fisher / cf
	case "streaming-mas":
		ema(&o.fisher, o.betaF, math.Abs(g))
		strength = o.fisher / cf
	case "streaming-si":
		ema(&o.dg, o.betaF, g*(o.prev-o.w))
		ema(&o.d, o.betaF, o.prev-o.w)
		strength = o.dg / cf / (o.d*o.d/(cf*cf) + o.eps)
	case "streaming-rwalk", "streaming-rwalk reference-code":
		score := g * (o.prev - o.w) / (0.5*o.fisher*(o.prev-o.w)*(o.prev-o.w) + o.eps)
		score = 0.5 * (math.Max(score, 0) + o.sco)
		if o.kind == "streaming-rwalk" {
			o.sco = score
			ema(&o.fisher, o.betaF, g*g)
		} else {
			ema(&o.fisher, o.betaF, o.w*o.w)
		}
		strength = o.fisher/cf + score
	}
	pull := o.kappa * strength * (o.w - o.trace/cw)
	o.prev = o.w
	o.w -= o.lr * (g + pull)
}

func TestStreamingMethodsAgainstThePublishedCodeInFloat64(t *testing.T) {
	for _, kind := range []string{"streaming-ewc", "streaming-mas", "streaming-si", "streaming-rwalk", "streaming-rwalk reference-code"} {
		spec := map[string]any{"kind": kind, "kappa": 0.75, "beta_weight": 0.9, "beta_importance": 0.8}
		o := streamed{kind: kind, lr: 0.125, kappa: 0.75, betaW: 0.9, betaF: 0.8, eps: 0.05}
		switch kind {
		case "streaming-rwalk reference-code":
			spec["kind"], spec["fisher"] = "streaming-rwalk", "reference-code"
			fallthrough
		case "streaming-si", "streaming-rwalk":
			spec["epsilon"] = 0.05
		}
		b := methodtest.New(t, 3, []any{5}, "pytorch")
		p := b.Param("hidden1/weight")
		var want []*streamed
		for _, w := range p.Var.F32 {
			one := o
			one.w = float64(w)
			want = append(want, &one)
		}
		plain := methodtest.Clone(p.Var.F32)
		prog := b.Update(p, b.Method(spec), map[string]any{"kind": "sgd", "lr": o.lr})
		g := prog.Input("g")
		for step := range 60 {
			for i := range g {
				g[i] = float32(math.Sin(float64(step*7+i*3)) + 0.3*math.Cos(float64(i)))
				plain[i] -= float32(o.lr) * g[i]
				want[i].step(float64(g[i]))
			}
			prog.Run(uint64(step))
			for i, w := range p.Var.F32 {
				require.InDelta(t, want[i].w, w, 2e-5*math.Max(1, math.Abs(want[i].w)), "%s: weight %d after step %d", kind, i, step)
			}
		}
		for i, w := range p.Var.F32 {
			require.Greater(t, math.Abs(float64(w-plain[i])), 1e-3, "%s pulls", kind)
		}
	}
}
