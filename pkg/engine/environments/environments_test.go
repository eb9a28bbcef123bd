package environments

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
)

func build[C environment.Config](t *testing.T, c C, make func(C, environment.Env) (environment.Environment, error)) environment.Environment {
	t.Helper()
	require.NoError(t, c.Validate())
	e, err := make(c, environment.Env{Space: graph.NewStore().Space(graph.OfEnvironment, "environment"), Key: func(p string) rng.Key { return rng.New(7, p) }})
	require.NoError(t, err)
	require.NoError(t, e.Enter(0))
	return e
}

// The equations of motion again, solved for both accelerations as a linear
// system of Newton's laws, with package math's sine and cosine.
func TestCartPoleMovesByNewtonsLaws(t *testing.T) {
	e := build(t, cartPoleConfig{Tasks: 1, StepsPerTask: 1, Limit: 1000}, newCartPole).(*cartPole)
	key := rng.New(1, "pushes")
	var lengths []int
	for episode := range uint64(40) {
		e.Reset(episode)
		var s [4]float64
		for i := range s {
			s[i] = e.state[i]
			require.LessOrEqual(t, math.Abs(s[i]), 0.05)
		}
		for step := 0; ; step++ {
			a := key.Intn(2, episode, uint64(step))
			f := 10.0
			if a == 0 {
				f = -f
			}
			// (M+m) ẍ + m l θ̈ cos θ = F + m l θ̇² sin θ and l·4/3 θ̈ + ẍ cos θ = g sin θ
			sin, cos := math.Sincos(s[2])
			a11, a12, b1 := 1.1, 0.1*0.5*cos, f+0.1*0.5*s[3]*s[3]*sin
			a21, a22, b2 := cos, 0.5*4.0/3, 9.8*sin
			det := a11*a22 - a12*a21
			linear, angular := (b1*a22-a12*b2)/det, (a11*b2-a21*b1)/det
			s = [4]float64{s[0] + 0.02*s[1], s[1] + 0.02*linear, s[2] + 0.02*s[3], s[3] + 0.02*angular}
			o := e.Act(a)
			for i := range s {
				require.InDelta(t, s[i], e.state[i], 1e-10)
			}
			require.Equal(t, float32(1), o.Reward)
			require.False(t, o.Truncated)
			require.Equal(t, math.Abs(s[2]) > 12*math.Pi/180 || math.Abs(s[0]) > 2.4, o.Terminal)
			if o.Terminal {
				lengths = append(lengths, step+1)
				break
			}
		}
	}
	sum := 0
	for _, n := range lengths {
		sum += n
	}
	// Random pushes keep the pole up for about 22 steps (Gymnasium's figure).
	require.InDelta(t, 22, float64(sum)/float64(len(lengths)), 6)
}

func TestCartPoleTasks(t *testing.T) {
	e := build(t, cartPoleConfig{Tasks: 5, StepsPerTask: 1, Limit: 3, Variation: 0.5, Flip: true}, newCartPole).(*cartPole)
	require.Equal(t, pushForce, e.force)
	seen := map[float64]bool{}
	for task := 1; task < 5; task++ {
		require.NoError(t, e.Enter(task))
		require.Equal(t, task%2 == 1, e.force < 0)
		require.InDelta(t, pushForce, math.Abs(e.force), pushForce/2)
		require.InDelta(t, halfLength, e.length, halfLength/2)
		seen[e.length] = true
	}
	require.Len(t, seen, 4)
	require.NoError(t, e.Enter(0))
	e.Reset(0)
	e.Act(0)
	e.Act(1)
	require.Equal(t, environment.Outcome{Reward: 1, Truncated: true}, e.Act(0))
}

func TestGridworld(t *testing.T) {
	e := build(t, gridworldConfig{Tasks: 9, StepsPerTask: 1, Size: 3, Limit: 4, Cost: 0.25}, newGridworld).(*gridworld)
	goals, starts := map[int]bool{}, map[int]bool{}
	for task := range 60 {
		require.NoError(t, e.Enter(task))
		goals[e.goal] = true
		e.Reset(uint64(task))
		require.NotEqual(t, e.goal, int(e.state[0]), "an episode does not begin at its end")
		starts[int(e.state[0])] = true
	}
	require.Len(t, goals, 9)
	require.Len(t, starts, 9)

	see := make([]float32, 9)
	cell := func() int {
		e.Observe(see)
		at := -1
		for i, x := range see {
			if x != 0 {
				require.Equal(t, -1, at)
				require.Equal(t, float32(1), x)
				at = i
			}
		}
		return at
	}
	e.goal = 8
	e.Reset(0)
	e.state[0] = 4
	for _, move := range []struct{ action, to int }{{0, 1}, {0, 1}, {1, 2}, {1, 2}} {
		o := e.Act(move.action)
		require.Equal(t, move.to, cell())
		require.Equal(t, float32(-0.25), o.Reward)
		require.Equal(t, e.state[1] == 4, o.Truncated)
	}
	for _, move := range []struct{ action, to int }{{2, 5}, {3, 4}, {3, 3}, {3, 3}, {2, 6}, {2, 6}} {
		e.Act(move.action)
		require.Equal(t, move.to, cell())
	}
	e.state[0] = 5
	require.Equal(t, environment.Outcome{Reward: 0.75, Terminal: true}, e.Act(2))
}
