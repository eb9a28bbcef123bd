package architecture_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
)

// TestInputSpaceTuning shows a plain network of the same backbone and head the
// examples as the test transforms them, in float64.
func TestInputSpaceTuning(t *testing.T) {
	shared := heads // one head for all tasks
	shared.Head, shared.Classes, shared.Outputs = 0, 2, 2
	const side = 6
	perceptron := object{"kind": "mlp", "hidden": []any{16.0}}
	floats := func(l learner.Learner, name string) []float32 {
		v := l.Store().Lookup("net/input/adapter0/" + name)
		require.NotNil(t, v, name)
		return v.F32
	}
	image := func(l learner.Learner, x []float32) {
		for i, d := range floats(l, "delta") {
			x[i] += d
		}
	}
	for name, tc := range map[string]struct {
		network, method object
		transform       func(l learner.Learner, x []float32)
	}{
		"image of a cnn": {smallCNN, object{"tune": "image"}, image},
		"image of mlp":   {perceptron, object{"tune": "image"}, image},
		"frame": {smallCNN, object{"tune": "frame", "frame": 2.0}, func(l learner.Learner, x []float32) {
			for i, d := range floats(l, "delta") {
				inside := i/side >= 2 && i/side < 4 && i%side >= 2 && i%side < 4
				if inside {
					require.Zero(t, d)
				} else {
					require.NotZero(t, d)
				}
				x[i] += d
			}
		}},
		"network of an mlp": {perceptron, object{"tune": "network", "width": 5.0}, func(l learner.Learner, x []float32) {
			w1, b1, w2, b2 := floats(l, "in"), floats(l, "in_bias"), floats(l, "out"), floats(l, "out_bias")
			was := append([]float32(nil), x...)
			for j, b := range b1 {
				h := float64(b)
				for i, v := range was {
					h += float64(v) * float64(w1[i*5+j])
				}
				for i := range x {
					x[i] += float32(math.Max(h, 0) * float64(w2[j*len(x)+i]))
				}
			}
			for i, b := range b2 {
				x[i] += b
			}
		}},
		"network of a cnn": {smallCNN, object{"tune": "network", "width": 3.0}, func(l learner.Learner, x []float32) {
			w1, b1, w2, b2 := floats(l, "in"), floats(l, "in_bias"), floats(l, "out"), floats(l, "out_bias")
			convolve := func(x []float64, in int, w, b []float32) []float64 {
				out := len(b)
				y := make([]float64, side*side*out)
				for p := range side * side {
					for o := range out {
						y[p*out+o] = float64(b[o])
						for k := range 9 {
							r, c := p/side+k/3-1, p%side+k%3-1
							if r < 0 || r >= side || c < 0 || c >= side {
								continue
							}
							for i := range in {
								y[p*out+o] += x[(r*side+c)*in+i] * float64(w[(k*in+i)*out+o])
							}
						}
					}
				}
				return y
			}
			wide := make([]float64, len(x))
			for i, v := range x {
				wide[i] = float64(v)
			}
			h := convolve(wide, 1, w1, b1)
			for i := range h {
				h[i] = math.Max(h[i], 0)
			}
			for i, v := range convolve(h, 3, w2, b2) {
				x[i] += float32(v)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.method["kind"] = "input-space-tuning"
			l, plain := newLearner(t, shared, tc.network, object{"kind": "adam", "lr": 0.01}, tc.method), newLearner(t, shared, tc.network, object{"kind": "adam"})
			x := examples(shared, 1, 0)
			e, err := l.Evaluate(x)
			require.NoError(t, err)
			p, err := plain.Evaluate(x)
			require.NoError(t, err)
			require.Equal(t, p.Output, e.Output, "nothing is transformed at first")

			learn(t, l, shared, 0)
			for _, v := range plain.Store().Vars() {
				switch w := l.Store().Lookup(v.Name); {
				case strings.HasPrefix(v.Name, "net/output"):
					require.NotEqual(t, v.F32, w.F32, v.Name)
					copy(v.F32, w.F32)
				case strings.HasPrefix(v.Name, "net/"):
					require.Equal(t, v.F32, w.F32, "%s is frozen", v.Name)
				}
			}
			before, err := plain.Evaluate(x)
			require.NoError(t, err)
			untransformed := append([]float32(nil), before.Output...)
			e, err = l.Evaluate(x)
			require.NoError(t, err)
			n := shared.Input.Elems()
			for i := range x.N {
				tc.transform(l, x.X[i*n:(i+1)*n])
			}
			p, err = plain.Evaluate(x)
			require.NoError(t, err)
			require.InDeltaSlice(t, p.Output, e.Output, 1e-4)
			away := 0.0
			for i, v := range untransformed {
				away = math.Max(away, math.Abs(float64(v-p.Output[i])))
			}
			require.Greater(t, away, 0.01, "the transformation has an effect")
		})
	}
}

func TestInputSpaceTuningAfterTheFirstTask(t *testing.T) {
	l := newLearner(t, heads, smallCNN, object{"kind": "adamw", "lr": 0.01}, object{"kind": "input-space-tuning", "tune": "image", "backbone": "first-task"})
	snapshot := func() map[string][]float32 {
		m := map[string][]float32{}
		for _, v := range l.Store().Vars() {
			if strings.HasPrefix(v.Name, "net/") {
				m[v.Name] = append([]float32(nil), v.F32...)
			}
		}
		return m
	}
	before := snapshot()
	for task := range 3 {
		learn(t, l, heads, task)
		now := snapshot()
		for name := range now {
			image := name == "net/input/adapter0/delta"
			head := strings.HasPrefix(name, "net/output/")
			require.Equal(t, head || image == (task > 0), fmt.Sprint(before[name]) != fmt.Sprint(now[name]), "%s has learned task %d", name, task)
		}
		before = now
	}
}
