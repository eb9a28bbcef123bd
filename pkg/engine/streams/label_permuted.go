package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "label-permuted",
		Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
		Summary: "classify images whose classes every task renames anew",
	}, labelPermutedConfig{
		Dataset: "mnist", Tasks: 400, ExamplesPerTask: 2500, Batch: 1,
		Scale: "symmetric", First: "permuted", Order: "fresh",
	}, nil, newLabelPermuted)
}

type labelPermutedConfig struct {
	Dataset         string `json:"dataset" doc:"images to classify: mnist or fashion-mnist"`
	Tasks           int    `json:"tasks" doc:"number of tasks; the labels change between them"`
	ExamplesPerTask int    `json:"examples_per_task" doc:"examples of each task; beyond one pass over the images every further pass is in a new order"`
	Batch           int    `json:"batch" doc:"examples of a step"`
	Subset          int    `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Scale           string `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split" enum:"unit|symmetric|standard"`
	First           string `json:"first" doc:"whether the first task renames too, or has the labels as they are" enum:"permuted|identity"`
	Order           string `json:"order" doc:"a task begins a fresh pass over the images in a new order, or continues the pass of the task before" enum:"fresh|continuing"`
}

func (c labelPermutedConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	return errors.Join(err, checkSubset(c.Dataset, c.Subset))
}

// Info implements [stream.Config].
func (c labelPermutedConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, c.Tasks, steps, c.Batch)
}

// labelPermuted shows image x of class y in task t as x, π_t(y) with a
// uniformly random permutation π_t of the classes per task. As in the
// reference code, every task begins a new pass over the images by default;
// with order continuing the images come in one sequence that knows nothing of
// tasks.
type labelPermuted struct {
	gallery
	cfg    labelPermutedConfig
	key    rng.Key
	labels []int32 // by class
}

func newLabelPermuted(c labelPermutedConfig, env stream.Env) (stream.Stream, error) {
	m, err := newImages(env, c.Dataset, c.Scale)
	if err != nil {
		return nil, err
	}
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	s := &labelPermuted{cfg: c, key: env.Key("permutation"), labels: make([]int32, info.Classes)}
	s.images = m
	s.label = func(_, image int32) int32 { return s.labels[m.split.Y[image]] }
	if s.chosen, err = chooseSubset(m, c.Dataset, c.Subset, env); err != nil {
		return nil, err
	}
	s.order = newPresentation(env.Key("order"), len(s.chosen), int64(c.ExamplesPerTask), c.Order == "continuing")
	return s, nil
}

// Enter implements [stream.Stream].
func (s *labelPermuted) Enter(task int) error {
	s.order.enter(task)
	if task == 0 && s.cfg.First == "identity" {
		for i := range s.labels {
			s.labels[i] = int32(i)
		}
		return nil
	}
	s.key.Perm(s.labels, uint64(task))
	return nil
}
