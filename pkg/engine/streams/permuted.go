package streams

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

func init() {
	def := permutedConfig{
		Dataset: "mnist", Tasks: 150, ExamplesPerTask: 60000, Batch: 1,
		Scale: "unit", Targets: "none", Change: 1, First: "permuted", Order: "fresh",
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
	Dataset         stream.Dataset `json:"dataset" doc:"images to classify: a dataset of the catalogue or your own, or several joined by + with the classes of all"`
	Tasks           int            `json:"tasks" doc:"number of tasks; the permutation changes between them"`
	ExamplesPerTask int            `json:"examples_per_task" doc:"examples of each task; beyond one pass over the images every further pass is in a new order"`
	Batch           int            `json:"batch" doc:"examples of a step"`
	Subset          int            `json:"subset" doc:"use only so many training images, drawn once per seed; 0 uses all"`
	Heads           int            `json:"heads" doc:"output heads of the tasks' own: task t is answered by head t mod heads, the others stay closed; 0 is one head that all tasks share"`
	Scale           string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
	Targets         targetScale    `json:"targets,omitzero" doc:"targets of a dataset to regress on: as they are (none), or each with mean 0 and deviation 1 over the training split" enum:"none|standard"`
	Change          float64        `json:"change" doc:"fraction of the pixels that change place from a task to the next; 1 permutes all anew, independently of the task before"`
	Ramp            float64        `json:"ramp" doc:"fraction of a task, from its beginning, over which pixels go to their new places one after the other; 0 for all at once"`
	Square          int            `json:"square" doc:"permute only the pixels of the square of that side in the middle; 0 permutes all"`
	First           string         `json:"first" doc:"whether the first task permutes too, or shows images as they are" enum:"permuted|identity"`
	Order           string         `json:"order" doc:"a task begins a fresh pass over the images in a new order, or continues the pass of the task before" enum:"fresh|continuing"`
}

func (c permutedConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	err = errors.Join(err, checkSubset(c.Dataset, c.Subset), checkHeads(c.Dataset, c.Heads))
	switch {
	case !(c.Change >= 0 && c.Change <= 1):
		err = errors.Join(err, component.Fieldf("change", "must be in [0, 1], is %v", c.Change))
	case !(c.Ramp >= 0 && c.Ramp <= 1):
		err = errors.Join(err, component.Fieldf("ramp", "must be in [0, 1], is %v", c.Ramp))
	case c.Square < 0:
		err = errors.Join(err, component.Fieldf("square", "must be at least 0, is %d", c.Square))
	case c.Square == 0:
		return err
	}
	if wrong := checkImages(c.Dataset, "square", "a square of them is permuted"); wrong != nil {
		return errors.Join(err, wrong)
	}
	if m, unknown := lookup(c.Dataset); unknown == nil && c.Square > min(m.Shape[len(m.Shape)-2], m.Shape[len(m.Shape)-1]) {
		err = errors.Join(err, component.Fieldf("square", "must be no larger than the images, of %v, is %d", m.Shape, c.Square))
	}
	return err
}

// checkSubset checks the dataset of a stream and how many of its images it uses.
func checkSubset(dataset stream.Dataset, subset int) error {
	m, err := lookup(dataset)
	if err != nil {
		return err
	}
	if subset < 0 || subset > m.Train {
		return component.Fieldf("subset", "must be between 0 (all) and the %d training examples of %s, is %d", m.Train, dataset, subset)
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
//
// With change c < 1, π_t is π_{t−1} with the places of round(c·pixels) random
// pixels exchanged in a cycle, so that exactly these move. With a ramp, π_{t−1}
// becomes π_t by exchanges of two pixels, evenly spaced over the first examples
// of task t > 0; in between it is a permutation, too. What is sampled or held
// out for a measurement of a task is under π_t.
type permuted struct {
	gallery
	cfg    permutedConfig
	key    rng.Key
	region []int32 // the pixels that are permuted
	places []int32 // π_task: pixel region[i] goes to region[places[i]]
	task   int     // that places are of; −1 for none
	drawn  []int32

	exchanges []exchange // those of the entered task's ramp
	done      int        // that the images have gone through
	ramp      int64      // examples
	now, then []int32    // places on the way, and which i has a place
}

type exchange struct{ i, j int32 }

func newPermuted(c permutedConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, c.Subset, c.Heads)
	if err != nil {
		return nil, err
	}
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	g.images.scaleTargets(c.Targets)
	g.order = newPresentation(env.Key("order"), len(g.chosen), int64(c.ExamplesPerTask), c.Order == "continuing")
	s := &permuted{gallery: g, cfg: c, key: env.Key("permutation"), task: -1}
	s.region = middle(info.Input, c.Square)
	n := len(s.region)
	s.places, s.drawn, s.now, s.then = make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	s.ramp = int64(math.Ceil(c.Ramp * float64(c.ExamplesPerTask)))
	return s, nil
}

// middle returns the pixels of the square of a side in the middle of an image of
// the given shape, in every channel; all for side 0.
func middle(shape tensor.Shape, side int) []int32 {
	if side == 0 {
		return choose(shape.Elems(), 0, rng.Key{})
	}
	height, width := shape[len(shape)-2], shape[len(shape)-1]
	top, left := (height-side)/2, (width-side)/2
	var pixels []int32
	for i := range shape.Elems() {
		r, c := i%(height*width)/width, i%width
		if r >= top && r < top+side && c >= left && c < left+side {
			pixels = append(pixels, int32(i))
		}
	}
	return pixels
}

// advance makes places those of a task. With change below 1 they follow from
// all tasks before it.
func (s *permuted) advance(task int) {
	if s.cfg.Change == 1 {
		s.task = task - 1
	} else if s.task > task {
		s.task = -1
	}
	for s.task < task {
		s.task++
		switch n := fraction(s.cfg.Change, len(s.region)); {
		case s.task == 0 && s.cfg.First == "identity":
			for i := range s.places {
				s.places[i] = int32(i)
			}
		case s.task == 0 || s.cfg.Change == 1:
			s.key.Perm(s.places, uint64(s.task))
		case n > 1:
			s.key.Perm(s.drawn, uint64(s.task))
			cycle(s.places, s.drawn[:n])
		}
	}
}

// Enter implements [stream.Stream].
func (s *permuted) Enter(task int) error {
	s.enter(task)
	s.advance(max(0, task-1)) // where a ramp begins
	copy(s.now, s.places)
	s.advance(task)
	s.exchanges, s.done = s.exchanges[:0], 0
	if task > 0 && s.ramp > 0 {
		s.plan(task)
	} else {
		copy(s.now, s.places)
	}
	for i, to := range s.now {
		s.images.to[s.region[i]] = s.region[to]
	}
	return nil
}

// plan finds the exchanges that lead from the places of now to those of the
// task. The pixels come to rest in random order.
func (s *permuted) plan(task int) {
	for i, to := range s.now {
		s.then[to] = int32(i)
	}
	way := append([]int32(nil), s.now...)
	s.key.Perm(s.drawn, uint64(task)|1<<63)
	for _, i := range s.drawn {
		j := s.then[s.places[i]]
		if i == j {
			continue
		}
		s.exchanges = append(s.exchanges, exchange{i, j})
		way[i], way[j] = way[j], way[i]
		s.then[way[i]], s.then[way[j]] = i, j
	}
}

// at moves the pixels to where they are for example i of the task.
func (s *permuted) at(i int64) {
	want := len(s.exchanges)
	if i < s.ramp {
		want = int(i * int64(want) / s.ramp)
	}
	for ; s.done < want; s.done++ {
		s.exchange(s.exchanges[s.done])
	}
	for ; s.done > want; s.done-- {
		s.exchange(s.exchanges[s.done-1])
	}
}

func (s *permuted) exchange(e exchange) {
	to, a, b := s.images.to, s.region[e.i], s.region[e.j]
	to[a], to[b] = to[b], to[a]
}

// Batch implements [stream.Stream].
func (s *permuted) Batch(step int64, b *stream.Batch) {
	for i := range b.N {
		at := step*int64(b.N) + int64(i)
		s.at(at)
		s.show(s.order.train(at), i, b)
	}
}

// Sample implements [stream.Stream].
func (s *permuted) Sample(b *stream.Batch) {
	s.at(s.ramp)
	s.gallery.Sample(b)
}

// Test implements [stream.Tester].
func (s *permuted) Test(first int, b *stream.Batch) {
	s.at(s.ramp)
	s.gallery.Test(first, b)
}
