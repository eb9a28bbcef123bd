package accuracy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
)

// losses is a learner whose losses on task t are t, t+1, …
type losses struct {
	probetest.Exam
	asked, task int
}

func (l *losses) Evaluate(task, n int) (*learner.Evaluation, error) {
	l.task, l.asked = task, n
	e := &learner.Evaluation{N: 5}
	for i := range e.N {
		e.Losses = append(e.Losses, float32(task+i))
	}
	return e, nil
}

func TestTestLossIsTheMeanOfThePresentTask(t *testing.T) {
	p := probetest.Build(t, nil, probetest.Object{"kind": "test-loss", "samples": 40.0})
	l := &losses{Exam: probetest.Exam{T: t, Task: 3}}
	values := make([]float32, 1)
	require.NoError(t, p.(probe.TaskMeasurer).MeasureTasks(l, values))
	require.Equal(t, []float32{5}, values)
	require.Equal(t, [2]int{3, 40}, [2]int{l.task, l.asked})
}
