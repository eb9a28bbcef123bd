package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	def := permutedConfig{
		Dataset: "mnist", Tasks: 150, ExamplesPerTask: 60000, Batch: 1,
		Scale: "unit", First: "permuted", Order: "fresh",
	}
	lop, l2Init, upgd := def, def, def
	lop.Tasks = 800
	l2Init.Tasks, l2Init.Subset, l2Init.ExamplesPerTask, l2Init.Batch = 500, 10000, 10000, 16
	upgd.Tasks, upgd.ExamplesPerTask, upgd.Scale = 200, 5000, "symmetric"
	stream.Register(component.Info{
		Name:    "permuted",
		Paper:   "Goodfellow et al. 2013, An Empirical Investigation of Catastrophic Forgetting; online as Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning",
		Summary: "classify images whose pixels every task permutes anew, independently of the tasks before",
	}, def, map[string]permutedConfig{
		"loss-of-plasticity": lop,    // Dohare et al. 2024
		"l2-init":            l2Init, // Kumar et al. 2023, Maintaining Plasticity in Continual Learning via Regenerative Regularization
		"upgd":               upgd,   // Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning
	}, newPermuted)
}

type permutedConfig struct {
	Dataset         string `json:"dataset" doc:"images to classify: a dataset of the catalogue, or several joined by + with the classes of all"`
	Tasks           int    `json:"tasks" doc:"number of tasks; the permutation changes between them"`
	ExamplesPerTask int    `json:"examples_per_task" doc:"examples of each task; beyond one pass over the images every further pass is in a new order"`
	Batch           int    `json:"batch" doc:"examples of a step"`
	Subset          int    `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Heads           int    `json:"heads" doc:"output heads of the tasks' own: task t is answered by head t mod heads, the others stay closed; 0 is one head that all tasks share"`
	Scale           string `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split" enum:"unit|symmetric|standard"`
	First           string `json:"first" doc:"whether the first task permutes too, or shows images as they are" enum:"permuted|identity"`
	Order           string `json:"order" doc:"a task begins a fresh pass over the images in a new order, or continues the pass of the task before" enum:"fresh|continuing"`
}

func (c permutedConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	return errors.Join(err, checkSubset(c.Dataset, c.Subset), checkHeads(c.Heads))
}

// checkSubset checks the dataset of a stream and how many of its images it uses.
func checkSubset(dataset string, subset int) error {
	m, err := lookup(dataset)
	if err != nil {
		return err
	}
	if subset < 0 || subset > m.Train {
		return component.Fieldf("subset", "must be between 0 (all) and the %d training images of %s, is %d", m.Train, dataset, subset)
	}
	return nil
}

// Info implements [stream.Config].
func (c permutedConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, c.Heads, c.Tasks, steps, c.Batch)
}

// permuted shows image x of class y in task t as x_{π_t}, y with a uniformly
// random permutation π_t of the pixels per task. The reference code of Dohare
// et al. permutes the already permuted images again, which has the same
// distribution; its first task is permuted as well. It repeats a task's second
// pass in the order of the first; here every pass has a new order.
type permuted struct {
	gallery
	cfg permutedConfig
	key rng.Key
}

func newPermuted(c permutedConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, c.Subset, c.Heads)
	if err != nil {
		return nil, err
	}
	g.order = newPresentation(env.Key("order"), len(g.chosen), int64(c.ExamplesPerTask), c.Order == "continuing")
	return &permuted{gallery: g, cfg: c, key: env.Key("permutation")}, nil
}

// Enter implements [stream.Stream].
func (s *permuted) Enter(task int) error {
	s.enter(task)
	if task == 0 && s.cfg.First == "identity" {
		for i := range s.images.to {
			s.images.to[i] = int32(i)
		}
		return nil
	}
	s.key.Perm(s.images.to, uint64(task))
	return nil
}
