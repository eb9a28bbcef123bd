package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "revisits",
		Paper:   "Lyndgaard et al. 2024, Catastrophic Interference is Mitigated in Naturalistic Power-Law Learning Environments",
		Summary: "another stream in which tasks come back ever more seldom the longer they are over",
	}, revisitsConfig{
		Of: stream.InnerNamed("permuted"), Tasks: 20, Share: 0.1, Law: "power", Alpha: 1,
	}, nil, newRevisits)
}

type revisitsConfig struct {
	Of    stream.Inner `json:"of" doc:"the stream whose tasks come back"`
	Tasks int          `json:"tasks" doc:"number of tasks"`
	Share float64      `json:"share" doc:"probability of an example to be of a task before, from the second task on"`
	Law   string       `json:"law" doc:"how likely that is task i in task t: in proportion to (t−i)^−alpha, to exp(−alpha·(t−i)), or all the same" enum:"power|exponential|uniform"`
	Alpha float64      `json:"alpha" doc:"exponent of the power law, or rate of the exponential"`
}

// maxRevisits bounds the tasks of such a stream: each stays in memory.
const maxRevisits = 4096

func (c revisitsConfig) Validate() error {
	_, err := c.Of.Outer("of", c.Tasks)
	switch {
	case c.Tasks > maxRevisits:
		err = errors.Join(err, component.Fieldf("tasks", "must be at most %d, is %d", maxRevisits, c.Tasks))
	case !(c.Share >= 0 && c.Share <= 1):
		err = errors.Join(err, component.Fieldf("share", "must be in [0, 1], is %v", c.Share))
	case !(c.Alpha >= 0 && c.Alpha <= 100):
		err = errors.Join(err, component.Fieldf("alpha", "must be between 0 and 100, is %v", c.Alpha))
	}
	return err
}

// Info implements [stream.Config].
func (c revisitsConfig) Info() (stream.Info, error) { return c.Of.Outer("of", c.Tasks) }

// revisits shows, in the place of example n of task t, with probability share
// example n of an old task i < t, drawn by the law; the learner sees no
// difference but in the example. What is sampled or held out for a measurement
// of a task is of that task alone.
type revisits struct {
	cfg     revisitsConfig
	env     stream.Env
	key     rng.Key
	now     stream.Stream
	old     []stream.Stream // by task
	task    int
	perTask int64
	below   []float64 // by age − 1: the probability of an old task of that age or younger
	one     *stream.Batch
}

func newRevisits(c revisitsConfig, env stream.Env) (stream.Stream, error) {
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	s := &revisits{cfg: c, env: env, key: env.Key("revisits"), one: stream.NewBatch(info, 1)}
	s.perTask = info.StepsPerTask * int64(info.Batch)
	s.now, err = c.Of.Build(env)
	return s, err
}

// weight returns the law's weight of an old task, as many tasks ago.
func (c revisitsConfig) weight(age int) float64 {
	switch c.Law {
	case "power":
		return linalg.Pow(float64(age), -c.Alpha)
	case "exponential":
		return linalg.Exp(-c.Alpha * float64(age-1)) // of age 1 relative to itself: never all 0
	}
	return 1
}

// Enter implements [stream.Stream].
func (s *revisits) Enter(task int) error {
	s.task = task
	s.below = s.below[:0]
	sum := 0.0
	for age := 1; age <= task; age++ {
		sum += s.cfg.weight(age)
		s.below = append(s.below, sum)
	}
	for i := range s.below {
		s.below[i] /= sum
	}
	for len(s.old) < task {
		inner, err := s.cfg.Of.Build(s.env)
		if err == nil {
			err = inner.Enter(len(s.old))
		}
		if err != nil {
			return err
		}
		s.old = append(s.old, inner)
	}
	return s.now.Enter(task)
}

// Batch implements [stream.Stream].
func (s *revisits) Batch(step int64, b *stream.Batch) {
	s.now.Batch(step, b)
	if s.task == 0 {
		return
	}
	for i := range b.N {
		at := step*int64(b.N) + int64(i)
		number := uint64(s.task)*uint64(s.perTask) + uint64(at)
		if float64(s.key.Float32(number, 0)) >= s.cfg.Share {
			continue
		}
		u := float64(s.key.Float32(number, 1))
		age := 1
		for age < s.task && u >= s.below[age-1] {
			age++
		}
		s.old[s.task-age].Batch(at, s.one)
		b.Copy(i, s.one, 0)
	}
}

// Sample implements [stream.Stream].
func (s *revisits) Sample(b *stream.Batch) { s.now.Sample(b) }

// TestSize implements [stream.Tester].
func (s *revisits) TestSize() int { return testSize(s.now) }

// Test implements [stream.Tester].
func (s *revisits) Test(first int, b *stream.Batch) { s.now.(stream.Tester).Test(first, b) }
