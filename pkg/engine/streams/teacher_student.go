package streams

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

func init() {
	stream.Register(component.Info{
		Name:    "teacher-student",
		Paper:   "Li, Huang, Zou & Huang 2022, Statistical mechanics of continual learning: variational principle and mean-field potential (binary perceptron)",
		Summary: "learn perceptrons with random binary weights, one after the other, each like the one before to a degree",
	}, teacherStudentConfig{
		Tasks: 2, ExamplesPerTask: 1000, Epochs: 1, Batch: 1, Inputs: 1000, Overlap: 0, Answer: "classes", TestExamples: 1000,
	}, nil, newTeacherStudent)
}

type teacherStudentConfig struct {
	Tasks           int     `json:"tasks" doc:"number of tasks, each with a teacher of its own"`
	ExamplesPerTask int     `json:"examples_per_task" doc:"different examples of each task, the paper's P = α·inputs"`
	Epochs          int     `json:"epochs" doc:"passes over a task's examples, every one in a new order"`
	Batch           int     `json:"batch" doc:"examples of a step"`
	Inputs          int     `json:"inputs" doc:"numbers of an example, N"`
	Overlap         float64 `json:"overlap" doc:"overlap r of a teacher with the one before it: (1/N)·Σ w·w', as near as N weights of ±1 allow"`
	Answer          string  `json:"answer" doc:"what is to be learnt: the class 0 or 1, or the number −1 or +1" enum:"classes|sign"`
	TestExamples    int     `json:"test_examples" doc:"held-out examples of each task"`
}

func (c teacherStudentConfig) Validate() error {
	if _, err := checkPasses("examples_per_task", c.Tasks, c.ExamplesPerTask, c.Epochs, c.Batch); err != nil {
		return err
	}
	switch {
	case c.ExamplesPerTask > 1<<24:
		return component.Fieldf("examples_per_task", "must be at most %d, is %d", 1<<24, c.ExamplesPerTask)
	case c.Inputs < 1 || c.Inputs > 1<<20:
		return component.Fieldf("inputs", "must be between 1 and %d, is %d", 1<<20, c.Inputs)
	case !(c.Overlap >= -1 && c.Overlap <= 1):
		return component.Fieldf("overlap", "must be in [-1, 1], is %v", c.Overlap)
	case c.TestExamples < 1 || c.TestExamples > 1<<24:
		return component.Fieldf("test_examples", "must be between 1 and %d, is %d", 1<<24, c.TestExamples)
	}
	return nil
}

// Info implements [stream.Config].
func (c teacherStudentConfig) Info() (stream.Info, error) {
	steps, err := checkPasses("examples_per_task", c.Tasks, c.ExamplesPerTask, c.Epochs, c.Batch)
	info := stream.Info{
		Input: tensor.Shape{c.Inputs}, Outputs: 1, Tasks: c.Tasks, StepsPerTask: steps, Batch: c.Batch,
	}
	if c.Answer == "classes" {
		info.Classes, info.Outputs = 2, 2
	}
	return info, err
}

// teacherStudent draws x ~ N(0, I_N) and answers with the sign of w_t·x, where
// w_t ∈ {−1,+1}^N is the task's teacher. Teacher 0 is uniformly random; the next
// is the one before with the signs of round(N·(1−r)/2) random weights changed.
type teacherStudent struct {
	cfg      teacherStudentConfig
	weights  rng.Key // of teacher 0
	flips    rng.Key // what changes between teachers
	examples rng.Key
	held     rng.Key
	order    *presentation

	task    int
	teacher []float32
	drawn   []int32
}

func newTeacherStudent(c teacherStudentConfig, env stream.Env) (stream.Stream, error) {
	s := &teacherStudent{
		cfg: c, weights: env.Key("teacher"), flips: env.Key("flips"), examples: env.Key("examples"), held: env.Key("held-out"),
		teacher: make([]float32, c.Inputs), drawn: make([]int32, c.Inputs),
	}
	s.order = newPresentation(env.Key("order"), c.ExamplesPerTask, int64(c.ExamplesPerTask)*int64(c.Epochs), false)
	s.first()
	return s, nil
}

func (s *teacherStudent) first() {
	s.task = 0
	for i := range s.teacher {
		s.teacher[i] = float32(2*int(s.weights.Uint32(0, uint64(i))&1) - 1)
	}
}

// Enter implements [stream.Stream]. A teacher follows from all before it.
func (s *teacherStudent) Enter(task int) error {
	s.order.enter(task)
	if task < s.task {
		s.first()
	}
	for s.task < task {
		s.task++
		s.flips.Perm(s.drawn, uint64(s.task))
		for _, i := range s.drawn[:int(math.Floor(float64(float64(s.cfg.Inputs)*(1-s.cfg.Overlap)/2)+0.5))] {
			s.teacher[i] = -s.teacher[i]
		}
	}
	return nil
}

// Batch implements [stream.Stream].
func (s *teacherStudent) Batch(step int64, b *stream.Batch) {
	for i := range b.N {
		s.show(i, s.examples, s.cfg.ExamplesPerTask, int(s.order.train(step*int64(b.N)+int64(i))), b)
	}
}

// Sample implements [stream.Stream].
func (s *teacherStudent) Sample(b *stream.Batch) {
	for i := range b.N {
		s.show(i, s.examples, s.cfg.ExamplesPerTask, int(s.order.sample(i)), b)
	}
}

// TestSize implements [stream.Tester].
func (s *teacherStudent) TestSize() int { return s.cfg.TestExamples }

// Test implements [stream.Tester].
func (s *teacherStudent) Test(first int, b *stream.Batch) {
	for i := range b.N {
		s.show(i, s.held, s.cfg.TestExamples, (first+i)%s.cfg.TestExamples, b)
	}
}

// show writes an example of the task, of the given number among so many, as
// example i of a batch.
func (s *teacherStudent) show(i int, key rng.Key, of, number int, b *stream.Batch) {
	x := b.X[i*s.cfg.Inputs : (i+1)*s.cfg.Inputs]
	key.FillNormal(x, uint64(s.task)*uint64(of)+uint64(number))
	field := 0.0
	for k, w := range s.teacher {
		field += float64(w * x[k]) // exact: w is ±1
	}
	switch {
	case b.Labels != nil && field > 0:
		b.Labels[i] = 1
	case b.Labels != nil:
		b.Labels[i] = 0
	case field > 0:
		b.Targets[i] = 1
	default:
		b.Targets[i] = -1
	}
}
