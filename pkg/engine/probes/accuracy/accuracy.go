// Package accuracy has probes of how well the learner does what it is asked: its loss,
// what it has right, on which tasks and examples, and what it forgets.
package accuracy

import "neoteny/pkg/engine/probe"

// testTask returns how many of a task's first samples held-out examples the
// learner has right, and how many they are.
func testTask(t probe.Tasks, task, samples int) (correct float64, n int, err error) {
	e, err := t.Evaluate(task, samples)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range e.Correct {
		correct += float64(c)
	}
	return correct, e.N, nil
}
