package accuracy

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "seen-class-accuracy",
			Paper:   "Rebuffi et al. 2017, iCaRL: Incremental Classifier and Representation Learning",
			Summary: "share of the held-out examples of all classes so far that the network has right, classes coming task by task",
			Needs:   []component.Capability{component.Classification},
		},
		Metrics: []probe.Metric{
			{
				Metric: "seen_class_accuracy", Title: "Accuracy on classes seen so far",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
		},
		Every: "task",
		At:    "end",
	}, seenClassAccuracyConfig{Tasks: 10, Samples: 10000}, nil, func(c seenClassAccuracyConfig, _ probe.Env) (probe.Probe, error) {
		return seenClassAccuracy{c}, nil
	})
}

type seenClassAccuracyConfig struct {
	Tasks   int `json:"tasks" doc:"after how many tasks every class has been seen; later ones bring none"`
	Samples int `json:"samples" doc:"held-out examples of each task, the first ones; all if there are fewer"`
}

func (c seenClassAccuracyConfig) Validate() error {
	var err error
	if c.Tasks < 1 || c.Tasks > 1000 {
		err = component.Fieldf("tasks", "must be between 1 and 1000, is %d", c.Tasks)
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// seenClassAccuracy emits the accuracy over the held-out examples of the tasks
// learned so far together, every example counting once: in class-incremental
// learning the accuracy over all classes seen so far. The network answers with
// any of its outputs, those of classes that it has not seen too.
type seenClassAccuracy struct{ cfg seenClassAccuracyConfig }

// Columns implements [probe.Probe].
func (seenClassAccuracy) Columns() []probe.Column {
	return []probe.Column{{Metric: "seen_class_accuracy"}}
}

// MeasureTasks implements [probe.TaskMeasurer].
func (p seenClassAccuracy) MeasureTasks(t probe.Tasks, values []float32) error {
	var correct float64
	all := 0
	for task := range min(t.Learned(), p.cfg.Tasks) {
		c, n, err := testTask(t, task, p.cfg.Samples)
		if err != nil {
			return err
		}
		correct += c
		all += n
	}
	values[0] = float32(correct / float64(all))
	return nil
}
