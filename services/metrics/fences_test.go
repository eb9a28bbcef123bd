package metrics

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFences(t *testing.T) {
	var f fences
	f = f.with(1, 100)
	f = f.with(3, 50)
	require.Equal(t, fences{{1, 100}, {3, 50}}, f)
	require.True(t, f.stale(2, 49), "attempt 3 has sent step 49")
	require.False(t, f.stale(2, 50), "attempt 3 has not sent step 50")
	require.False(t, f.stale(3, 0))
	require.False(t, f.stale(1, 60), "attempt 1 may lead until it is passed")
	f = f.with(3, 120)
	require.Equal(t, fences{{3, 120}}, f)
	require.True(t, f.stale(1, 119))
	require.Equal(t, fences{{3, 120}}, f.with(2, 110))
}

// fences never forget a fence that matters: they answer as the full history.
func TestFencesAnswerLikeTheirHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fences
		var history []fence
		for range rapid.IntRange(0, 30).Draw(t, "n") {
			x := fence{rapid.Int64Range(0, maxFences-1).Draw(t, "attempt"), rapid.Int64Range(0, 20).Draw(t, "end")}
			history, f = append(history, x), f.with(x.attempt, x.end)
		}
		attempt, step := rapid.Int64Range(0, maxFences).Draw(t, "asked"), rapid.Int64Range(0, 21).Draw(t, "step")
		want := false
		for _, x := range history {
			want = want || x.attempt > attempt && x.end > step
		}
		require.Equal(t, want, f.stale(attempt, step))
	})
}
