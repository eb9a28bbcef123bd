package accuracy

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "test-loss",
			Summary: "loss on the present task's held-out examples, without penalties",
			Needs:   []component.Capability{component.Stream},
		},
		Metrics: []probe.Metric{{Metric: "test_loss", Title: "Test loss", Range: probe.Positive, Better: probe.Lower}},
		Every:   "task",
		At:      "end",
	}, testLossConfig{Samples: 2000}, nil, func(c testLossConfig, _ probe.Env) (probe.Probe, error) { return testLoss{c.Samples}, nil })
}

type testLossConfig struct {
	Samples int `json:"samples" doc:"held-out examples, the first ones; all if there are fewer"`
}

func (c testLossConfig) Validate() error { return measure.CheckSamples(c.Samples) }

// testLoss emits the mean prediction loss (cross-entropy in nats, or squared
// error) over held-out examples; for a stream that holds none back, over
// examples of its training.
type testLoss struct{ samples int }

// Columns implements [probe.Probe].
func (testLoss) Columns() []probe.Column { return []probe.Column{{Metric: "test_loss"}} }

// MeasureTasks implements [probe.TaskMeasurer].
func (p testLoss) MeasureTasks(t probe.Tasks, values []float32) error {
	e, err := t.Evaluate(t.Now(), p.samples)
	if err != nil {
		return err
	}
	var sum float64
	for _, v := range e.Losses {
		sum += float64(v)
	}
	values[0] = float32(sum / float64(e.N))
	return nil
}
