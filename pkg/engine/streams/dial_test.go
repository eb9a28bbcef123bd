package streams

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/stream"
)

// pointSource has images with one bright pixel each: image i at pixel i.
func pointSource() data.Source {
	meta, _ := data.Lookup("mnist")
	d := &data.Dataset{Meta: meta, TrainSplit: data.Split{N: 784, X: make([]uint8, 784*784), Y: make([]uint8, 784)}}
	for i := range 784 {
		d.TrainSplit.X[i*784+i] = 255
	}
	return data.Static{"mnist": d}
}

// placesAt shows where the pixels of a stream over such images go to at a step,
// with a batch of all of them.
func placesAt(s built, step int64, b *stream.Batch) []int {
	s.Batch(step, b)
	to := make([]int, 784)
	for i := range b.N {
		row := b.X[i*784 : (i+1)*784]
		to[b.Index[i]] = slices.Index(row, 1)
	}
	return to
}

func differ(a, b []int) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestChangeMovesExactlyThatFractionOfThePixels(t *testing.T) {
	source := pointSource()
	rapid.Check(t, func(rt *rapid.T) {
		change := rapid.Float64Range(0, 0.99).Draw(rt, "change")
		square := rapid.SampledFrom([]int{0, 2, 8, 27, 28}).Draw(rt, "square")
		s := build(t, source, rapid.Uint64().Draw(rt, "seed"), object{
			"kind": "permuted", "tasks": 4.0, "examples_per_task": 784.0, "batch": 784.0,
			"change": change, "square": float64(square), "first": rapid.SampledFrom([]string{"identity", "permuted"}).Draw(rt, "first"),
		})
		b := stream.NewBatch(s.info, 784)
		region := square * square
		if square == 0 {
			region = 784
		}
		want := int(change*float64(region) + 0.5)
		if want == 1 {
			want = 0 // one pixel alone has nowhere to go
		}
		var before, first []int
		for task := range 4 {
			require.NoError(t, s.Enter(task))
			now := placesAt(s, 0, b)
			require.ElementsMatch(t, identity(784), now)
			require.LessOrEqual(t, differ(identity(784), now), region)
			for i, to := range now {
				if r, c := i/28, i%28; square > 0 && (r < (28-square)/2 || r >= (28-square)/2+square || c < (28-square)/2 || c >= (28-square)/2+square) {
					require.Equal(t, i, to, "a pixel outside of the square")
				}
			}
			if task > 0 {
				require.Equal(t, want, differ(before, now), "change %v of %d", change, region)
			}
			if before = now; task == 1 {
				first = now
			}
		}
		require.NoError(t, s.Enter(1)) // back again
		require.Equal(t, first, placesAt(s, 0, b))
	})
}

func TestARampGoesEvenlyFromOnePermutationToTheNext(t *testing.T) {
	raw := object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 784.0 * 10, "batch": 1.0, "ramp": 0.5}
	s := build(t, pointSource(), 5, raw)
	raw["ramp"] = 0.0
	abrupt := build(t, pointSource(), 5, raw)
	b := stream.NewBatch(s.info, 784)
	var before []int
	for task := range 3 {
		require.NoError(t, s.Enter(task))
		require.NoError(t, abrupt.Enter(task))
		final := placesAt(abrupt, 0, b)
		require.Equal(t, final, placesAt(s, 9, b), "the end of the task")
		if task == 0 {
			require.Equal(t, final, placesAt(s, 0, b), "the first task has nothing to come from")
			before = final
			continue
		}
		s.Batch(0, stream.NewBatch(s.info, 1))
		p := s.Stream.(*permuted)
		total := len(p.exchanges)
		last := -1
		for _, at := range []int64{0, 1, 500, 1960, 3000, 3919, 3920, 5000, 7839} {
			p.at(at)
			var now []int
			for _, to := range p.images.to {
				now = append(now, int(to))
			}
			require.ElementsMatch(t, identity(784), now, "not a permutation at example %d", at)
			// Each exchange brings one pixel, or two, to where it stays.
			home := 784 - differ(final, now)
			done := min(total, int(at*int64(total)/3920))
			require.GreaterOrEqual(t, home, done)
			require.LessOrEqual(t, home, done+25, "few arrive by chance")
			require.GreaterOrEqual(t, home, last)
			last = home
			if at == 0 {
				require.Equal(t, before, now, "it begins where the task before has ended")
			}
			if at >= 3920 {
				require.Equal(t, final, now)
			}
		}
		before = final
	}
}

func TestChangeOfLabels(t *testing.T) {
	for _, change := range []float64{0, 0.1, 0.2, 0.3, 0.7, 1} {
		s := build(t, synthetic(60), 5, object{"kind": "label-permuted", "tasks": 30.0, "examples_per_task": 60.0, "change": change})
		var before []int32
		for task := range 30 {
			require.NoError(t, s.Enter(task))
			now := slices.Clone(s.Stream.(*labelPermuted).names)
			require.ElementsMatch(t, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, now)
			if task > 0 && change < 1 {
				want := int(change*10 + 0.5)
				if want == 1 {
					want = 0
				}
				differs := 0
				for i := range now {
					if now[i] != before[i] {
						differs++
					}
				}
				require.Equal(t, want, differs)
			}
			before = now
		}

		r := build(t, synthetic(60), 5, object{"kind": "random-label", "tasks": 30.0, "examples": 60.0, "epochs": 1.0, "batch": 1.0, "change": change})
		differs := 0
		for task := range 30 {
			require.NoError(t, r.Enter(task))
			now := slices.Clone(r.Stream.(*randomLabel).labels)
			if task > 0 {
				for i := range now {
					if now[i] != before[i] {
						differs++
					}
				}
			}
			before = now
		}
		// Of those drawn anew one in ten gets the label that it had.
		require.InDelta(t, 29*60*change*0.9, differs, 5*13*change+1e-9)
	}
}
