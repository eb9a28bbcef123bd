package streams

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestBitFlipAgainstTheReferenceFormula computes targets the way the reference
// code does, with matrices.
func TestBitFlipAgainstTheReferenceFormula(t *testing.T) {
	for _, threshold := range []string{"reference-code", "paper"} {
		s := build(t, nil, 9, object{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 200.0, "threshold": threshold})
		b := s.Stream.(*bitFlip)
		weights := make([][]float64, 100)
		tau := make([]float64, 100)
		for j, u := range b.units {
			var sum, negative float64
			for k := range 20 {
				w := -1.0
				if u.positive>>k&1 == 1 {
					w = 1
				} else {
					negative++
				}
				weights[j] = append(weights[j], w)
				sum += w
			}
			if threshold == "paper" {
				if u.bias < 0 {
					negative++
				}
				tau[j] = 0.7*21 - negative
			} else {
				tau[j] = 0.7*21 - (20-sum+u.bias)/2
			}
		}
		fired := 0
		for task := range 3 {
			x, y := s.task(t, task)
			for i := range x {
				want := float64(b.bias)
				for j, u := range b.units {
					z := u.bias
					for k, v := range x[i] {
						z += weights[j][k] * float64(v)
					}
					if z > tau[j] {
						want += float64(u.out)
						fired++
					}
				}
				require.Equal(t, float32(want), y[i], "%s: task %d example %d", threshold, task, i)
			}
		}
		require.NotZero(t, fired)
	}
}

func TestBitFlipChangesSlowBitsBetweenTasksOnly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.IntRange(1, 64).Draw(rt, "bits")
		slow := rapid.IntRange(1, m).Draw(rt, "slow")
		flip := rapid.SampledFrom([]string{"one", "all"}).Draw(rt, "flip")
		s := build(t, nil, rapid.Uint64().Draw(rt, "seed"), object{"kind": "bit-flip-regression", "tasks": 5.0, "examples_per_task": 8.0, "bits": float64(m), "slow_bits": float64(slow), "flip": flip})
		var before uint64
		for task := range 5 {
			x, _ := s.task(t, task)
			var now uint64
			for i, row := range x {
				var word uint64
				for k, v := range row[:slow] {
					word |= uint64(v) << k
				}
				if i > 0 && word != now {
					rt.Fatalf("task %d: slow bits changed within the task", task)
				}
				now = word
			}
			if task > 0 && flip == "one" && bits.OnesCount64(now^before) != 1 {
				rt.Fatalf("task %d: %d bits flipped", task, bits.OnesCount64(now^before))
			}
			before = now
		}
	})
}
