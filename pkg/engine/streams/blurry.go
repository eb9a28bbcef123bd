package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "blurry",
		Paper:   "Aljundi, Kelchtermans & Tuytelaars 2019, Task-Free Continual Learning; mixing as Zeno et al. 2018, Task Agnostic Continual Learning Using Online Variational Bayes",
		Summary: "another stream whose neighbouring tasks mix around their boundary",
	}, blurryConfig{
		Of: stream.InnerNamed("permuted"), Tasks: 100, Width: 0.5, Shape: "linear",
	}, nil, newBlurry)
}

type blurryConfig struct {
	Of    stream.Inner `json:"of" doc:"the stream whose tasks mix"`
	Tasks int          `json:"tasks" doc:"number of tasks"`
	Width float64      `json:"width" doc:"length of the stretch around each boundary in which the tasks mix, as a fraction of a task: 0 for none, 1 for a stream that is always on its way from one task to the next"`
	Shape string       `json:"shape" doc:"share of the other task within that stretch: linear from 0 at its ends to 1/2 at the boundary, or constant 1/2" enum:"linear|constant"`
}

func (c blurryConfig) Validate() error {
	_, err := c.Of.Outer("of", c.Tasks)
	if !(c.Width >= 0 && c.Width <= 1) {
		err = errors.Join(err, component.Fieldf("width", "must be in [0, 1], is %v", c.Width))
	}
	return err
}

// Info implements [stream.Config].
func (c blurryConfig) Info() (stream.Info, error) { return c.Of.Outer("of", c.Tasks) }

// blurry exchanges examples across boundaries: that at distance k before a
// boundary and the one at distance k behind it change places with probability
//
//	½·(1 − (k + ½)/K)  or  ½,   k < K = ⌊width·examples/2⌋
//
// so that every example is shown exactly as often as in the inner stream. What
// is sampled or held out for a measurement of a task is of that task alone.
type blurry struct {
	cfg                 blurryConfig
	key                 rng.Key
	before, now, behind stream.Stream // at the tasks around the entered one
	task                int
	perTask, half       int64
	one                 *stream.Batch
}

func newBlurry(c blurryConfig, env stream.Env) (stream.Stream, error) {
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	s := &blurry{cfg: c, key: env.Key("blur"), one: stream.NewBatch(info, 1)}
	s.perTask = info.StepsPerTask * int64(info.Batch)
	s.half = int64(c.Width * float64(s.perTask) / 2)
	for _, inner := range []*stream.Stream{&s.before, &s.now, &s.behind} {
		if *inner, err = c.Of.Build(env); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Enter implements [stream.Stream].
func (s *blurry) Enter(task int) error {
	s.task = task
	err := errors.Join(s.now.Enter(task), s.behind.Enter(task+1))
	if task > 0 {
		err = errors.Join(err, s.before.Enter(task-1))
	}
	return err
}

// exchanged reports whether the examples at distance k of a boundary, which is
// that before the given task, have changed places.
func (s *blurry) exchanged(boundary int, k int64) bool {
	if k >= s.half || boundary == 0 {
		return false
	}
	share := 0.5
	if s.cfg.Shape == "linear" {
		share *= 1 - (float64(k)+0.5)/float64(s.half)
	}
	return float64(s.key.Float32(uint64(boundary), uint64(k))) < share
}

// Batch implements [stream.Stream].
func (s *blurry) Batch(step int64, b *stream.Batch) {
	s.now.Batch(step, b)
	for i := range b.N {
		at := step*int64(b.N) + int64(i)
		mirror := s.perTask - 1 - at
		switch {
		case s.exchanged(s.task, at):
			s.before.Batch(mirror, s.one)
		case s.exchanged(s.task+1, mirror):
			s.behind.Batch(mirror, s.one)
		default:
			continue
		}
		b.Copy(i, s.one, 0)
	}
}

// Sample implements [stream.Stream].
func (s *blurry) Sample(b *stream.Batch) { s.now.Sample(b) }

// TestSize implements [stream.Tester].
func (s *blurry) TestSize() int { return testSize(s.now) }

// Test implements [stream.Tester].
func (s *blurry) Test(first int, b *stream.Batch) { s.now.(stream.Tester).Test(first, b) }
