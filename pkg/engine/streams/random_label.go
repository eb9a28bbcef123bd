package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "random-label",
		Paper:   "Lyle et al. 2023, Understanding Plasticity in Neural Networks; defaults of Kumar et al. 2023, Maintaining Plasticity in Continual Learning via Regenerative Regularization",
		Summary: "memorise labels that every task draws at random for the same few images",
	}, randomLabelConfig{
		Dataset: "mnist", Tasks: 50, Examples: 1200, Epochs: 400, Batch: 16, Change: 1, Scale: "unit",
	}, nil, newRandomLabel)
}

type randomLabelConfig struct {
	Dataset  stream.Dataset `json:"dataset" doc:"where the images come from: a dataset of the catalogue or your own, or several joined by + with the classes of all"`
	Tasks    int            `json:"tasks" doc:"number of tasks; the labels change between them"`
	Examples int            `json:"examples" doc:"how many training images, drawn once per seed, are labelled"`
	Epochs   int            `json:"epochs" doc:"passes over the images in each task, every one in a new order"`
	Batch    int            `json:"batch" doc:"examples of a step"`
	Change   float64        `json:"change" doc:"fraction of the images whose label is drawn anew from a task to the next"`
	Scale    string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
}

// checkPasses checks tasks of whole passes over the same examples, and returns
// the steps of a task. The name is that of the parameter for the examples.
func checkPasses(name string, tasks, examples, epochs, batch int) (steps int64, err error) {
	if epochs < 1 || epochs > 1<<24 {
		return 0, component.Fieldf("epochs", "must be between 1 and %d, is %d", 1<<24, epochs)
	}
	if examples < 1 {
		return 0, component.Fieldf(name, "must be at least 1, is %d", examples)
	}
	perPass, err := stream.CheckLength(tasks, examples, batch)
	if err != nil {
		return 0, err
	}
	if steps = perPass * int64(epochs); steps > stream.MaxSteps/int64(tasks) {
		return 0, component.Fieldf("tasks", "%d tasks of %d steps are more than %d steps in all", tasks, steps, int64(stream.MaxSteps))
	}
	return steps, nil
}

func (c randomLabelConfig) Validate() error {
	_, err := checkPasses("examples", c.Tasks, c.Examples, c.Epochs, c.Batch)
	m, unknown := lookup(c.Dataset)
	if unknown == nil && c.Examples > m.Train {
		unknown = component.Fieldf("examples", "%s has %d training examples, %d are asked for: ask for fewer", titled(c.Dataset), m.Train, c.Examples)
	}
	if !(c.Change >= 0 && c.Change <= 1) {
		err = errors.Join(err, component.Fieldf("change", "must be in [0, 1], is %v", c.Change))
	}
	return errors.Join(err, checkClasses(c.Dataset, "draws labels among classes"), unknown)
}

// Info implements [stream.Config].
func (c randomLabelConfig) Info() (stream.Info, error) {
	steps, err := checkPasses("examples", c.Tasks, c.Examples, c.Epochs, c.Batch)
	if err != nil {
		return stream.Info{}, err
	}
	return imageInfo(c.Dataset, 0, 0, c.Tasks, steps, c.Batch)
}

// randomLabel gives each of its images, in each task, a label that is
// independent and uniform over the classes. With change c < 1 that is so for
// round(c·examples) random images; the others keep theirs.
type randomLabel struct {
	gallery
	key     rng.Key
	changes rng.Key
	change  int     // labels that are drawn anew
	labels  []int32 // by item, parallel to chosen; those of task
	task    int     // −1 for none
	drawn   []int32
}

func newRandomLabel(c randomLabelConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, 0, 0)
	if err != nil {
		return nil, err
	}
	if g.images.train.n < c.Examples {
		return nil, component.Fieldf("examples", "%s has %d training examples, %d are asked for: ask for fewer", titled(c.Dataset), g.images.train.n, c.Examples)
	}
	s := &randomLabel{gallery: g, key: env.Key("labels"), changes: env.Key("changes"), labels: make([]int32, c.Examples)}
	s.change, s.task, s.drawn = fraction(c.Change, c.Examples), -1, make([]int32, c.Examples)
	s.chosen = choose(s.images.train.n, c.Examples, env.Key("subset"))
	s.held = nil // random labels carry no information about other images
	s.order = newPresentation(env.Key("order"), c.Examples, int64(c.Examples)*int64(c.Epochs), false)
	s.label = func(item int32) int32 { return s.labels[item] }
	return s, nil
}

// Enter implements [stream.Stream]. With change below 1 a task's labels follow
// from all before it.
func (s *randomLabel) Enter(task int) error {
	s.enter(task)
	if s.change == len(s.labels) {
		s.task = task - 1
	} else if s.task > task {
		s.task = -1
	}
	for s.task < task {
		s.task++
		if s.task == 0 || s.change == len(s.labels) {
			for i := range s.labels {
				s.labels[i] = int32(s.key.Intn(s.head, uint64(s.task), uint64(i)))
			}
			continue
		}
		s.changes.Perm(s.drawn, uint64(s.task))
		for _, i := range s.drawn[:s.change] {
			s.labels[i] = int32(s.key.Intn(s.head, uint64(s.task), uint64(i)))
		}
	}
	return nil
}
