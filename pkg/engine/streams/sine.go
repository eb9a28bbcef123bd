package streams

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

func init() {
	stream.Register(component.Info{
		Name:    "sine",
		Paper:   "Lan & Mahmood 2023, Elephant Neural Networks: Born to Be a Continual Learner (streaming regression)",
		Summary: "regress sin πx on x that runs through [0, 2] in order",
	}, sineConfig{
		Tasks: 1, ExamplesPerTask: 200, Batch: 1, Intervals: 1, Order: "ascending", TestPoints: 1000,
	}, nil, newSine)
}

type sineConfig struct {
	Tasks           int    `json:"tasks" doc:"number of tasks, passes over an interval of x"`
	ExamplesPerTask int    `json:"examples_per_task" doc:"points of an interval, evenly spaced"`
	Batch           int    `json:"batch" doc:"examples of a step"`
	Intervals       int    `json:"intervals" doc:"into how many intervals of equal length [0, 2] is cut; task t has interval t mod intervals"`
	Order           string `json:"order" doc:"order of the points: ascending, or random anew in every task" enum:"ascending|random"`
	TestPoints      int    `json:"test_points" doc:"held-out points, evenly spaced over all of [0, 2]"`
}

func (c sineConfig) Validate() error {
	if _, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch); err != nil {
		return err
	}
	switch {
	case c.Intervals < 1 || c.Intervals > stream.MaxTasks:
		return component.Fieldf("intervals", "must be between 1 and %d, is %d", stream.MaxTasks, c.Intervals)
	case c.ExamplesPerTask > 1<<24:
		return component.Fieldf("examples_per_task", "must be at most %d, is %d", 1<<24, c.ExamplesPerTask)
	case c.TestPoints < 1 || c.TestPoints > 1<<24:
		return component.Fieldf("test_points", "must be between 1 and %d, is %d", 1<<24, c.TestPoints)
	}
	return nil
}

// Info implements [stream.Config].
func (c sineConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	return stream.Info{
		Input: tensor.Shape{1}, Outputs: 1, Tasks: c.Tasks, StepsPerTask: steps, Batch: c.Batch,
	}, err
}

// sine shows (x, sin πx). With n points in each of m intervals, point i of
// interval k is x = 2·(k + i/n)/m; held-out point j of J is x = 2·(j + ½)/J, so
// that it falls between those shown. Nothing about it depends on the seed but
// the random order.
type sine struct {
	cfg      sineConfig
	order    *presentation
	random   bool
	interval int
}

func newSine(c sineConfig, env stream.Env) (stream.Stream, error) {
	s := &sine{cfg: c, random: c.Order == "random"}
	key := rng.Key{}
	if s.random {
		key = env.Key("order")
	}
	s.order = newPresentation(key, c.ExamplesPerTask, int64(c.ExamplesPerTask), false)
	return s, nil
}

// Enter implements [stream.Stream].
func (s *sine) Enter(task int) error {
	s.order.enter(task)
	s.interval = task % s.cfg.Intervals
	return nil
}

// Batch implements [stream.Stream].
func (s *sine) Batch(step int64, b *stream.Batch) {
	for i := range b.N {
		at := step*int64(b.N) + int64(i)
		if s.random {
			at = int64(s.order.train(at))
		}
		s.show(i, at, b)
	}
}

// Sample implements [stream.Stream].
func (s *sine) Sample(b *stream.Batch) {
	for i := range b.N {
		at := int64(i % s.cfg.ExamplesPerTask)
		if s.random {
			at = int64(s.order.sample(i))
		}
		s.show(i, at, b)
	}
}

func (s *sine) show(i int, point int64, b *stream.Batch) {
	x := 2 * (float64(s.interval) + float64(point)/float64(s.cfg.ExamplesPerTask)) / float64(s.cfg.Intervals)
	b.X[i], b.Targets[i] = float32(x), float32(linalg.SinPi(x))
}

// TestSize implements [stream.Tester].
func (s *sine) TestSize() int { return s.cfg.TestPoints }

// Test implements [stream.Tester].
func (s *sine) Test(first int, b *stream.Batch) {
	for i := range b.N {
		x := 2 * (float64((first+i)%s.cfg.TestPoints) + 0.5) / float64(s.cfg.TestPoints)
		b.X[i], b.Targets[i] = float32(x), float32(linalg.SinPi(x))
	}
}
