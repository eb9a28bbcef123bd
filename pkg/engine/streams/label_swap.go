package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "label-swap",
		Paper:   "Man, Damasio & Neven 2022, Need is All You Need: Homeostatic Neural Networks Adapt to Concept Shift",
		Summary: "classify images while the labels of two random classes are swapped again and again",
	}, labelSwapConfig{
		Dataset: "mnist", Tasks: 50, ExamplesPerTask: 60000, Batch: 10, Swaps: []int{10}, Scale: "unit", Order: "fresh",
	}, nil, newLabelSwap)
}

type labelSwapConfig struct {
	Dataset         stream.Dataset `json:"dataset" doc:"images to classify: a dataset of the catalogue or your own, or several joined by + with the classes of all"`
	Tasks           int            `json:"tasks" doc:"number of tasks, the paper's epochs"`
	ExamplesPerTask int            `json:"examples_per_task" doc:"examples of each task; beyond one pass over the images every further pass is in a new order"`
	Batch           int            `json:"batch" doc:"examples of a step"`
	Subset          int            `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Swaps           []int          `json:"swaps" doc:"swaps in a task, evenly spaced, the last one at its end; with several numbers task t takes number t mod their count"`
	Scale           string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
	Order           string         `json:"order" doc:"a task begins a fresh pass over the images in a new order, or continues the pass of the task before" enum:"fresh|continuing"`
}

func (c labelSwapConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if len(c.Swaps) == 0 {
		err = errors.Join(err, component.Fieldf("swaps", "must have one number at least"))
	}
	for _, n := range c.Swaps {
		if n < 0 || n > c.ExamplesPerTask {
			err = errors.Join(err, component.Fieldf("swaps", "must be between 0 and the %d examples of a task, is %d", c.ExamplesPerTask, n))
		}
	}
	return errors.Join(err, checkClasses(c.Dataset, "swaps the labels of classes"), checkSubset(c.Dataset, c.Subset))
}

// Info implements [stream.Config].
func (c labelSwapConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, 0, c.Tasks, steps, c.Batch)
}

// labelSwap shows image x of class y as x, π(y). π begins as the identity; swap
// number n exchanges two different labels, uniformly drawn. Before example i of
// a task with s swaps, ⌊i·s/examples⌋ of them are done, as in the authors' code,
// so that all are when the next task begins. Held-out images have the labels of
// the task's last example.
type labelSwap struct {
	gallery
	cfg   labelSwapConfig
	key   rng.Key
	swaps int64 // of the entered task
	base  int64 // before the entered task
	done  int64 // that names has gone through
}

func newLabelSwap(c labelSwapConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, c.Subset, 0)
	if err != nil {
		return nil, err
	}
	g.order = newPresentation(env.Key("order"), len(g.chosen), int64(c.ExamplesPerTask), c.Order == "continuing")
	return &labelSwap{gallery: g, cfg: c, key: env.Key("swap")}, nil
}

// Enter implements [stream.Stream].
func (s *labelSwap) Enter(task int) error {
	s.enter(task)
	var round, begun int64
	for i, n := range s.cfg.Swaps {
		round += int64(n)
		if i < task%len(s.cfg.Swaps) {
			begun += int64(n)
		}
	}
	s.base = int64(task/len(s.cfg.Swaps))*round + begun
	s.swaps = int64(s.cfg.Swaps[task%len(s.cfg.Swaps)])
	return nil
}

// at gives the classes the labels that they have at example i of the task. A
// swap is undone by itself, so it goes either way.
func (s *labelSwap) at(i int64) {
	want := s.base + i*s.swaps/int64(s.cfg.ExamplesPerTask)
	for s.done < want {
		s.swap(s.done)
		s.done++
	}
	for s.done > want {
		s.done--
		s.swap(s.done)
	}
}

func (s *labelSwap) swap(number int64) {
	a := int32(s.key.Intn(s.head, uint64(number), 0))
	b := int32(s.key.Intn(s.head-1, uint64(number), 1))
	if b >= a {
		b++
	}
	for class, name := range s.names {
		switch name {
		case a:
			s.names[class] = b
		case b:
			s.names[class] = a
		}
	}
}

// Batch implements [stream.Stream].
func (s *labelSwap) Batch(step int64, b *stream.Batch) {
	for i := range b.N {
		at := step*int64(b.N) + int64(i)
		s.at(at)
		s.show(s.order.train(at), i, b)
	}
}

// Label implements [stream.Relabeler].
func (s *labelSwap) Label(example int64, index int32) int32 {
	s.at(example)
	return s.names[s.images.train.class(index)]
}

// Sample implements [stream.Stream].
func (s *labelSwap) Sample(b *stream.Batch) {
	for i := range b.N {
		s.at(int64(i % s.cfg.ExamplesPerTask))
		s.show(s.order.sample(i), i, b)
	}
}

// Test implements [stream.Tester].
func (s *labelSwap) Test(first int, b *stream.Batch) {
	s.at(int64(s.cfg.ExamplesPerTask) - 1)
	s.gallery.Test(first, b)
}
