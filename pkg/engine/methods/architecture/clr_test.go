package architecture_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/rng"
)

var smallCNN = object{"kind": "cnn", "hidden": []any{10.0}, "convolutions": []any{
	object{"channels": 5.0, "kernel": 3.0, "padding": 1.0}, object{"channels": 4.0, "kernel": 3.0, "padding": 1.0, "pool": 2.0},
}}

func TestCLRForgetsNothing(t *testing.T) {
	for _, anchor := range []string{"pretrained", "first-task"} {
		t.Run(anchor, func(t *testing.T) {
			l := newLearner(t, heads, smallCNN, object{"kind": "adamw", "lr": 0.01, "weight_decay": 0.1}, object{"kind": "clr", "anchor": anchor, "tasks": 4.0})
			var want [][]float32
			var anchors []float32
			for task := range heads.Tasks {
				learn(t, l, heads, task)
				output, accuracy := answers(t, l, heads, task)
				require.Greater(t, accuracy, 0.8, "task %d has been learned", task)
				want = append(want, output)
				for before := range task {
					got, _ := answers(t, l, heads, before)
					require.Equal(t, want[before], got, "task %d after task %d", before, task)
				}
				change := l.Store().Lookup("net/conv1/adapter0/reprogramming").F32
				size := 9 * 5
				for k := range 4 {
					moved := false
					for _, v := range change[k*size : (k+1)*size] {
						moved = moved || v != 0
					}
					require.Equal(t, k <= task && (k > 0 || anchor == "pretrained"), moved, "kernels of task %d after task %d", k, task)
				}
				w := l.Store().Lookup("net/conv1/weight").F32
				if task > 0 {
					require.Equal(t, anchors, w)
				}
				anchors = append([]float32(nil), w...)
			}
			answers(t, l, heads, 5) // a task without kernels of its own can be looked at
		})
	}
}

// TestCLRReprogramsChannels compares the second convolution's units with sums
// written out in float64.
func TestCLRReprogramsChannels(t *testing.T) {
	clr := object{"kind": "clr", "anchor": "pretrained", "tasks": 4.0, "convolutions": 1.0}
	l, plain := newLearner(t, heads, smallCNN, object{"kind": "sgd"}, clr), newLearner(t, heads, smallCNN, object{"kind": "sgd"})
	x := examples(heads, 2, 0)
	e, err := l.Evaluate(x)
	require.NoError(t, err)
	p, err := plain.Evaluate(x)
	require.NoError(t, err)
	require.Equal(t, p.Output, e.Output, "kernels start as the identity")
	before := append([]float32(nil), e.Features[0]...) // of the first convolution, which has none: [8·36][5]

	change := l.Store().Lookup("net/conv2/adapter0/reprogramming").F32
	rng.New(1, "change").FillNormal(change, 0)
	e, err = l.Evaluate(x)
	require.NoError(t, err)
	w, bias := l.Store().Lookup("net/conv2/weight").F32, l.Store().Lookup("net/conv2/bias").F32
	const h, in, out, task = 6, 5, 4, 2
	conv := make([]float64, 8*h*h*out)
	window := func(r, c, i, j int) (place int, inside bool) { // of a 3×3 window
		y, z := r+i-1, c+j-1
		return y*h + z, y >= 0 && y < h && z >= 0 && z < h
	}
	for n := range 8 {
		for place := range h * h {
			for o := range out {
				sum := float64(bias[o])
				for k := range 9 {
					if from, inside := window(place/h, place%h, k/3, k%3); inside {
						for c := range in {
							sum += float64(before[(n*h*h+from)*in+c]) * float64(w[(k*in+c)*out+o])
						}
					}
				}
				conv[(n*h*h+place)*out+o] = sum
			}
		}
	}
	for n := range 8 {
		for place := range h * h {
			for o := range out {
				sum := conv[(n*h*h+place)*out+o]
				for k := range 9 {
					if from, inside := window(place/h, place%h, k/3, k%3); inside {
						sum += conv[(n*h*h+from)*out+o] * float64(change[task*9*out+k*out+o])
					}
				}
				require.InDelta(t, math.Max(sum, 0), e.Features[1][(n*h*h+place)*out+o], 1e-4)
			}
		}
	}
}
