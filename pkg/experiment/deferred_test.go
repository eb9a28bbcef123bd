package experiment

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

// forksByDefinition says of every step whether something is measured before it at
// the start of a task, or after it at the end of one.
func forksByDefinition(a DeferredSteps) (list []int64) {
	for step := range a.Tasks * a.StepsPerTask {
		task := step / a.StepsPerTask
		for _, s := range a.Schedules {
			every := int64(s.Every)
			starts := s.Start && step%a.StepsPerTask == 0 && task%every == 0
			ends := !s.Start && (step+1)%a.StepsPerTask == 0 && (task+1)%every == 0
			if starts || ends {
				list = append(list, step)
				break
			}
		}
	}
	return list
}

// Forks are where the schedules say, and every one of them ends a segment of the
// main track, however long segments are and wherever one was cut off.
func TestForks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := DeferredSteps{Tasks: rapid.Int64Range(1, 30).Draw(t, "tasks"), StepsPerTask: rapid.Int64Range(1, 7).Draw(t, "steps")}
		for range rapid.IntRange(0, 3).Draw(t, "schedules") {
			a.Schedules = append(a.Schedules, &pb.AsideSchedule{Every: rapid.Int32Range(1, 40).Draw(t, "every"), Start: rapid.Bool().Draw(t, "start")})
		}
		want := forksByDefinition(a)
		var got []int64
		for step, ok := a.Next(0); ok; step, ok = a.Next(step + 1) {
			got = append(got, step)
		}
		require.Equal(t, want, got)
		require.EqualValues(t, len(want), a.Count())
		for step := range a.Tasks * a.StepsPerTask {
			require.Equal(t, slices.Contains(want, step), a.At(step))
		}

		segment := rapid.Int32Range(1, 10).Draw(t, "segment")
		for from := int64(0); from < a.Tasks*a.StepsPerTask; {
			end := a.Cut(from, segment)
			require.Greater(t, end, from)
			require.LessOrEqual(t, end, a.Tasks*a.StepsPerTask)
			require.LessOrEqual(t, end-from, int64(segment)*a.StepsPerTask+1)
			if len(a.Schedules) == 0 {
				require.True(t, end%(int64(segment)*a.StepsPerTask) == 0 || end == a.Tasks*a.StepsPerTask)
			}
			from = end
		}
		for from := range a.Tasks * a.StepsPerTask {
			i := slices.IndexFunc(want, func(f int64) bool { return f > from })
			if i >= 0 {
				require.LessOrEqual(t, a.Cut(from, segment), want[i], "no segment goes over a fork, wherever it begins")
			}
		}
	})
}

func TestExpandWithDeferred(t *testing.T) {
	plain := expand(t, map[string]string{"segments": "segments: {tasks: 5}"})
	p := expand(t, map[string]string{
		"probes":   "probes: [{kind: test-accuracy}, {kind: test-dormant, every: 10 tasks, deferred: true}]",
		"segments": "segments: {tasks: 5}",
		"claims":   `claims: [{name: c, value: 'arms["base"].test_dormant.last(1).mean()', holds: {lt: 1}}]`,
	})
	trial := p.Trials[0]
	require.Equal(t, "every:10", trial.DeferredSchedules()[0].String())
	require.Len(t, trial.DeferredSchedules(), 1)
	require.Equal(t, 4+2, trial.Segments(5), "two measurements")
	require.EqualValues(t, plain.Segments()+2, p.Segments())
	require.Equal(t, plain.Steps(), p.Steps())
	require.Contains(t, string(trial.SpecJSON()), `{"aside":true,"at":"end","every":"10 tasks","kind":"test-dormant"`)
	require.NotEqual(t, plain.Trials[0].RunKey(0, nil), trial.RunKey(0, nil))
	record, err := ReadRecord(trial.SpecJSON())
	require.NoError(t, err)
	require.Equal(t, trial.Spec.Canonical(), record.Spec.Canonical())

	_, err = Expand(parse(t, map[string]string{
		"probes": "probes: [{kind: test-accuracy, every: 100, deferred: true}]",
	}))
	require.ErrorContains(t, err, "probes[0].deferred: is for at most one measurement a task, not one every 100 steps")
	_, err = Expand(parse(t, map[string]string{
		"arms": "arms: {a: {}, b: {probes: [{kind: test-accuracy, deferred: 1}]}}",
	}))
	require.ErrorContains(t, err, "arms.b.probes[0].deferred: must be true or false")
}
