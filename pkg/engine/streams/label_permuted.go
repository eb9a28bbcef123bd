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
		Scale: "symmetric", Change: 1, First: "permuted", Order: "fresh",
	}, nil, newLabelPermuted)
}

type labelPermutedConfig struct {
	Dataset         stream.Dataset `json:"dataset" doc:"images to classify: a dataset of the catalogue or your own, or several joined by + with the classes of all"`
	Tasks           int            `json:"tasks" doc:"number of tasks; the labels change between them"`
	ExamplesPerTask int            `json:"examples_per_task" doc:"examples of each task; beyond one pass over the images every further pass is in a new order"`
	Batch           int            `json:"batch" doc:"examples of a step"`
	Subset          int            `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Heads           int            `json:"heads" doc:"output heads of the tasks' own: task t is answered by head t mod heads, the others stay closed; 0 is one head that all tasks share"`
	Scale           string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
	Change          float64        `json:"change" doc:"fraction of the classes whose label changes from a task to the next; 1 renames all anew, independently of the task before"`
	First           string         `json:"first" doc:"whether the first task renames too, or has the labels as they are" enum:"permuted|identity"`
	Order           string         `json:"order" doc:"a task begins a fresh pass over the images in a new order, or continues the pass of the task before" enum:"fresh|continuing"`
}

func (c labelPermutedConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if !(c.Change >= 0 && c.Change <= 1) {
		err = errors.Join(err, component.Fieldf("change", "must be in [0, 1], is %v", c.Change))
	}
	return errors.Join(err, checkClasses(c.Dataset, "renames classes"), checkSubset(c.Dataset, c.Subset), checkHeads(c.Dataset, c.Heads))
}

// Info implements [stream.Config].
func (c labelPermutedConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, c.Heads, c.Tasks, steps, c.Batch)
}

// labelPermuted shows image x of class y in task t as x, π_t(y) with a
// uniformly random permutation π_t of the classes per task. As in the
// reference code, every task begins a new pass over the images by default;
// with order continuing the images come in one sequence that knows nothing of
// tasks. With change c < 1, π_t is π_{t−1} with the labels of round(c·classes)
// random classes exchanged in a cycle, so that exactly these change.
type labelPermuted struct {
	gallery
	cfg   labelPermutedConfig
	key   rng.Key
	task  int // that names are of; −1 for none
	drawn []int32
}

func newLabelPermuted(c labelPermutedConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, c.Subset, c.Heads)
	if err != nil {
		return nil, err
	}
	g.order = newPresentation(env.Key("order"), len(g.chosen), int64(c.ExamplesPerTask), c.Order == "continuing")
	return &labelPermuted{gallery: g, cfg: c, key: env.Key("permutation"), task: -1, drawn: make([]int32, g.head)}, nil
}

// Enter implements [stream.Stream]. With change below 1 a task's labels follow
// from all before it.
func (s *labelPermuted) Enter(task int) error {
	s.enter(task)
	if s.cfg.Change == 1 {
		s.task = task - 1
	} else if s.task > task {
		s.task = -1
	}
	for s.task < task {
		s.task++
		switch n := fraction(s.cfg.Change, len(s.names)); {
		case s.task == 0 && s.cfg.First == "identity":
			for i := range s.names {
				s.names[i] = int32(i)
			}
		case s.task == 0 || s.cfg.Change == 1:
			s.key.Perm(s.names, uint64(s.task))
		case n > 1:
			s.key.Perm(s.drawn, uint64(s.task))
			cycle(s.names, s.drawn[:n])
		}
	}
	return nil
}
