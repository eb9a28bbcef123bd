package accuracy

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "test-accuracy",
			Summary: "share of the present task's held-out examples that the network has right",
			Needs:   []component.Capability{component.Classification},
		},
		Metrics: []probe.Metric{
			{
				Metric: "test_accuracy", Title: "Test accuracy",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
		},
		Every: "task",
		At:    "end",
	}, testAccuracyConfig{Samples: 2000}, nil, func(c testAccuracyConfig, _ probe.Env) (probe.Probe, error) { return testAccuracy{c.Samples}, nil })
}

type testAccuracyConfig struct {
	Samples int `json:"samples" doc:"held-out examples, the first ones; all if there are fewer"`
}

func (c testAccuracyConfig) Validate() error { return measure.CheckSamples(c.Samples) }

type testAccuracy struct{ samples int }

// Columns implements [probe.Probe].
func (testAccuracy) Columns() []probe.Column { return []probe.Column{{Metric: "test_accuracy"}} }

// MeasureTasks implements [probe.TaskMeasurer].
func (p testAccuracy) MeasureTasks(t probe.Tasks, values []float32) error {
	correct, n, err := testTask(t, t.Now(), p.samples)
	values[0] = float32(correct / float64(n))
	return err
}
