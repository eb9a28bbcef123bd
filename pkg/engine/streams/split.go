package streams

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/stream"
)

func init() {
	stream.Register(component.Info{
		Name:    "split",
		Paper:   "Zenke et al. 2017, Continual Learning Through Synaptic Intelligence (split MNIST)",
		Summary: "classify images of a few classes per task, one group of classes after the other",
	}, splitConfig{
		Dataset: "mnist", Tasks: 5, ClassesPerTask: 2, ExamplesPerClass: 5000, Epochs: 1, Batch: 10,
		Head: "single", ClassOrder: "natural", Scale: "unit",
	}, nil, newSplit)
}

type splitConfig struct {
	Dataset          string `json:"dataset" doc:"images to classify: mnist or fashion-mnist"`
	Tasks            int    `json:"tasks" doc:"number of tasks; after the last group of classes comes the first again"`
	ClassesPerTask   int    `json:"classes_per_task" doc:"classes of a group; divides the classes of the dataset"`
	ExamplesPerClass int    `json:"examples_per_class" doc:"how many training images of each class, drawn once per seed, are used; the same for all classes, so that tasks are of equal length"`
	Epochs           int    `json:"epochs" doc:"passes over the images in each task, every one in a new order"`
	Batch            int    `json:"batch" doc:"examples of a step"`
	Head             string `json:"head" doc:"outputs: one for every class of the dataset, or classes_per_task that all tasks share" enum:"single|shared"`
	ClassOrder       string `json:"class_order" doc:"classes are grouped as the dataset numbers them, or in an order drawn once per seed" enum:"natural|seeded"`
	Scale            string `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split" enum:"unit|symmetric|standard"`
}

// steps returns the steps of a task.
func (c splitConfig) steps() (int64, error) {
	if c.ExamplesPerClass < 1 || c.ExamplesPerClass > 1<<24 {
		return 0, component.Fieldf("examples_per_class", "must be between 1 and %d, is %d", 1<<24, c.ExamplesPerClass)
	}
	return checkPasses("examples_per_class", c.Tasks, c.ClassesPerTask*c.ExamplesPerClass, c.Epochs, c.Batch)
}

func (c splitConfig) Validate() error {
	m, err := lookup(c.Dataset)
	if err != nil {
		return err
	}
	if c.ClassesPerTask < 1 || c.ClassesPerTask > m.Classes || m.Classes%c.ClassesPerTask != 0 {
		return component.Fieldf("classes_per_task", "must divide the %d classes of %s, is %d", m.Classes, c.Dataset, c.ClassesPerTask)
	}
	_, err = c.steps()
	if c.ExamplesPerClass > m.Train {
		err = errors.Join(err, component.Fieldf("examples_per_class", "%s has %d training images in all, %d of each class are asked for", c.Dataset, m.Train, c.ExamplesPerClass))
	}
	return err
}

// Info implements [stream.Config].
func (c splitConfig) Info() (stream.Info, error) {
	steps, err := c.steps()
	if err != nil {
		return stream.Info{}, err
	}
	outputs := 0
	if c.Head == "shared" {
		outputs = c.ClassesPerTask
	}
	return imageInfo(c.Dataset, outputs, c.Tasks, steps, c.Batch)
}

// split shows, in task t, images of the classes of group t mod groups. With the
// single head a label is the class (class-incremental learning); with the
// shared head it is the class's place in its group (domain-incremental).
type split struct {
	gallery
	groups [][]int32 // images of each group, examples_per_class of each class in turn
	labels [][]int32 // by group and class's place in it
	group  int
}

func newSplit(c splitConfig, env stream.Env) (stream.Stream, error) {
	m, err := newImages(env, c.Dataset, c.Scale)
	if err != nil {
		return nil, err
	}
	meta, err := lookup(c.Dataset)
	if err != nil {
		return nil, err
	}
	ofClass := make([][]int32, meta.Classes)
	for i, y := range m.split.Y {
		ofClass[y] = append(ofClass[y], int32(i))
	}
	classes := make([]int32, meta.Classes)
	for i := range classes {
		classes[i] = int32(i)
	}
	if c.ClassOrder == "seeded" {
		env.Key("classes").Perm(classes, 0)
	}
	s := &split{}
	s.images = m
	s.label = func(item, _ int32) int32 { return s.labels[s.group][int(item)/c.ExamplesPerClass] }
	subset := env.Key("subset")
	drawn := make([]int32, 0, m.split.N)
	for first := 0; first < meta.Classes; first += c.ClassesPerTask {
		var members, labels []int32
		for place, class := range classes[first : first+c.ClassesPerTask] {
			have := ofClass[class]
			if len(have) < c.ExamplesPerClass {
				return nil, component.Fieldf("examples_per_class", "class %d of %s has %d training images, %d are asked for",
					class, c.Dataset, len(have), c.ExamplesPerClass)
			}
			drawn = drawn[:len(have)]
			subset.Perm(drawn, uint64(class))
			for _, k := range drawn[:c.ExamplesPerClass] {
				members = append(members, have[k])
			}
			if c.Head == "shared" {
				class = int32(place)
			}
			labels = append(labels, class)
		}
		s.groups, s.labels = append(s.groups, members), append(s.labels, labels)
	}
	perPass := c.ClassesPerTask * c.ExamplesPerClass
	s.order = newPresentation(env.Key("order"), perPass, int64(perPass)*int64(c.Epochs), false)
	return s, nil
}

// Enter implements [stream.Stream].
func (s *split) Enter(task int) error {
	s.order.enter(task)
	s.group = task % len(s.groups)
	s.chosen = s.groups[s.group]
	return nil
}
