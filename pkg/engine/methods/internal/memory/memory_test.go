package memory

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/stream"
)

func TestReservoirHoldsEveryExampleWithTheSameProbability(t *testing.T) {
	const capacity, n, runs = 10, 40, 2000
	counts := make([]int, n)
	for run := range runs {
		b := methodtest.New(t, uint64(run), []any{2}, "pytorch")
		m := New(b.Env("m"), "m", Reservoir, capacity, false)
		for i := range n {
			m.Add(b.BatchNumber(1, i, func(int) int { return 0 }), 0, nil)
			require.Equal(t, min(i+1, capacity), m.Len())
		}
		for i := range capacity {
			counts[int(m.X[4*i])]++
		}
	}
	for i, c := range counts { // binomial, p = 1/4: deviation 19.4
		require.InDelta(t, runs*capacity/n, c, 90, "example %d", i)
	}
}

func TestClassBalancedMemory(t *testing.T) {
	const capacity = 12
	// Class 0 floods the stream; 1 is seldom, 2 hardly ever.
	class := func(i int) int {
		switch {
		case i%50 == 49:
			return 2
		case i%10 == 9:
			return 1
		}
		return 0
	}
	early := 0
	const runs = 400
	for run := range runs {
		b := methodtest.New(t, uint64(run), []any{2}, "pytorch")
		m := New(b.Env("m"), "m", ClassBalanced, capacity, false)
		for i := range 100 {
			m.Add(b.BatchNumber(4, 4*i, class), i, nil)
		}
		var held [3]int
		for i := range capacity {
			held[m.Labels[i]]++
			require.Equal(t, class(int(m.X[4*i])), int(m.Labels[i]))
			require.Equal(t, int(m.X[4*i])/4, int(m.task[i]))
			if m.Labels[i] == 0 && m.X[4*i] < 200 {
				early++
			}
		}
		require.Equal(t, [3]int{4, 4, 4}, held, "400 examples: 352, 40 and 8 of the classes")
		require.Equal(t, []int32{12, 4, 4, 4}, m.held)
	}
	// 4 of class 0 are held in each run, from either half of the stream.
	require.InDelta(t, 0.5, float64(early)/(4*runs), 0.06)
}

func TestDrawsAreOfDifferentExamplesOfEarlierTasks(t *testing.T) {
	b := methodtest.New(t, 5, []any{2}, "pytorch")
	m := New(b.Env("m"), "m", Reservoir, 8, true)
	class := func(i int) int { return i % 3 }
	for i := range 8 {
		m.Add(b.BatchNumber(1, i, class), i/4, []float32{float32(i), 0, -float32(i)})
	}
	batch := &stream.Batch{N: 5, X: make([]float32, 20), Labels: make([]int32, 5)}
	require.False(t, m.Draw(batch, 0, 5, 1, 0, nil), "four are of task 0")
	require.False(t, m.Draw(batch, 0, 1, 0, 0, nil))
	counts := map[int]int{}
	for number := range uint64(800) {
		extra := make([]float32, 9)
		require.True(t, m.Draw(batch, 2, 5, 1, number, extra))
		seen := map[int]bool{}
		for r := 2; r < 5; r++ {
			i := int(batch.X[4*r])
			require.False(t, seen[i])
			seen[i] = true
			require.Less(t, i, 4)
			require.Equal(t, int32(i%3), batch.Labels[r])
			require.Equal(t, []float32{float32(i), 0, -float32(i)}, extra[3*(r-2):3*(r-1)])
			counts[i]++
		}
	}
	for i := range 4 {
		require.InDelta(t, 600, counts[i], 60)
	}
}
