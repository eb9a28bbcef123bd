package streams

import (
	"errors"
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
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
	Dataset          stream.Dataset `json:"dataset" doc:"images to classify: a dataset of the catalogue or your own, or several joined by + with the classes of all, those of the first first"`
	Tasks            int            `json:"tasks" doc:"number of tasks; after the last group of classes comes the first again"`
	Base             int            `json:"base" doc:"classes of the first group; 0 for as many as in the others"`
	ClassesPerTask   int            `json:"classes_per_task" doc:"classes of a group; divides the classes of the dataset, those of the base not counted"`
	Sizes            []int          `json:"sizes,omitempty" doc:"classes of each group in turn, where groups differ ([5, 3, 2]); in place of base and classes_per_task; a head that is shared or a task's own is as large as the largest group"`
	Classes          []int          `json:"classes,omitempty" doc:"the classes that are shown, in the order in which they are grouped ([3, 1, 4]); in place of class_order; none for all"`
	ExamplesPerClass int            `json:"examples_per_class" doc:"how many training images of each class, drawn once per seed, are used; the same for all classes, so that tasks are of equal length"`
	Epochs           int            `json:"epochs" doc:"passes over the images in each task, every one in a new order; where the base is larger, over its images, and as many steps in the tasks of the others"`
	Batch            int            `json:"batch" doc:"examples of a step"`
	Head             string         `json:"head" doc:"outputs: one for every class of the dataset (class-incremental); classes_per_task that all tasks share (domain-incremental); or one for every class, of which a task uses those of its group only (task-incremental)" enum:"single|shared|per-task"`
	ClassOrder       string         `json:"class_order" doc:"classes are grouped as the dataset numbers them, or in an order drawn once per seed" enum:"natural|seeded"`
	Scale            string         `json:"scale" doc:"inputs: pixels in [0, 1], in [-1, 1], or with mean 0 and deviation 1 over the training split; of a dataset of floats, each feature by its own range, or mean and deviation, there; none leaves values as they are" enum:"unit|symmetric|standard|none"`
}

// base returns the classes of the first group.
func (c splitConfig) base() int {
	if c.Base == 0 {
		return c.ClassesPerTask
	}
	return c.Base
}

// shown returns how many classes are shown of those that the dataset has.
func (c splitConfig) shown(have int) int {
	if len(c.Classes) > 0 {
		return len(c.Classes)
	}
	return have
}

// sizes returns the classes of every group, of a dataset with so many.
func (c splitConfig) sizes(have int) []int {
	if len(c.Sizes) > 0 {
		return c.Sizes
	}
	sizes := []int{c.base()}
	for left := c.shown(have) - c.base(); left > 0; left -= c.ClassesPerTask {
		sizes = append(sizes, c.ClassesPerTask)
	}
	return sizes
}

// largest returns the classes of the largest group.
func (c splitConfig) largest() int {
	if len(c.Sizes) > 0 {
		return slices.Max(c.Sizes)
	}
	return max(c.base(), c.ClassesPerTask)
}

// steps returns the steps of a task.
func (c splitConfig) steps() (int64, error) {
	if c.ExamplesPerClass < 1 || c.ExamplesPerClass > 1<<24 {
		return 0, component.Fieldf("examples_per_class", "must be between 1 and %d, is %d", 1<<24, c.ExamplesPerClass)
	}
	return checkPasses("examples_per_class", c.Tasks, c.largest()*c.ExamplesPerClass, c.Epochs, c.Batch)
}

// checkGroups checks how the classes of a dataset are grouped.
func (c splitConfig) checkGroups(m data.Meta) error {
	listed := map[int]bool{}
	for i, class := range c.Classes {
		if class < 0 || class >= m.Classes || listed[class] {
			return component.Fieldf(fmt.Sprintf("classes[%d]", i), "must be one of the classes 0 to %d of %s, each once, is %d", m.Classes-1, m.Label(), class)
		}
		listed[class] = true
	}
	if len(c.Classes) > 0 && c.ClassOrder == "seeded" {
		return component.Fieldf("class_order", "must be natural: classes gives the order")
	}
	n := c.shown(m.Classes)
	if len(c.Sizes) > 0 {
		sum := 0
		for i, size := range c.Sizes {
			if size < 1 || size > n {
				return component.Fieldf(fmt.Sprintf("sizes[%d]", i), "must be between 1 and the %d classes, is %d", n, size)
			}
			sum += size
		}
		if sum != n {
			return component.Fieldf("sizes", "must add up to the %d classes, are %d together", n, sum)
		}
		if c.Base != 0 {
			return component.Fieldf("base", "must be 0: sizes gives the first group's, too")
		}
		return nil
	}
	switch {
	case c.Base < 0 || c.Base > n:
		return component.Fieldf("base", "must be between 0 and the %d classes of %s, is %d", n, m.Label(), c.Base)
	case c.ClassesPerTask < 1 || c.ClassesPerTask > n || (n-c.base())%c.ClassesPerTask != 0:
		return component.Fieldf("classes_per_task", "must divide the %d classes of %s behind the first group, is %d: or give the size of each group with sizes", n-c.Base, titled(c.Dataset), c.ClassesPerTask)
	case c.Head != "single" && c.base() != c.ClassesPerTask:
		return component.Fieldf("head", "groups of different size cannot have heads of one size: take single, or base 0")
	}
	return nil
}

func (c splitConfig) Validate() error {
	m, err := lookup(c.Dataset)
	if err == nil {
		err = checkClasses(c.Dataset, "shows some classes after others")
	}
	if err != nil {
		return err
	}
	if err := c.checkGroups(m); err != nil {
		return err
	}
	_, err = c.steps()
	switch {
	case m.Fewest > 0 && c.ExamplesPerClass > m.Fewest:
		err = errors.Join(err, component.Fieldf("examples_per_class", "the smallest class of %s has %d training examples, %d of each are asked for: give at most %d",
			titled(c.Dataset), m.Fewest, c.ExamplesPerClass, m.Fewest))
	case c.ExamplesPerClass > m.Train:
		err = errors.Join(err, component.Fieldf("examples_per_class", "%s has %d training examples in all, %d of each class are asked for: ask for fewer",
			titled(c.Dataset), m.Train, c.ExamplesPerClass))
	}
	return err
}

// Info implements [stream.Config].
func (c splitConfig) Info() (stream.Info, error) {
	steps, err := c.steps()
	if err != nil {
		return stream.Info{}, err
	}
	m, err := lookup(c.Dataset)
	if err != nil {
		return stream.Info{}, err
	}
	head, heads := 0, 0
	groups := len(c.sizes(m.Classes))
	switch c.Head {
	case "shared":
		head = c.largest()
	case "per-task":
		head, heads = c.largest(), groups
	}
	info, err := imageInfo(c.Dataset, head, heads, c.Tasks, steps, c.Batch)
	info.Distinct = groups
	return info, err
}

// split shows, in task t, images of the classes of group t mod groups. With the
// single head a label is the class (class-incremental learning); with the
// shared head it is the class's place in its group (domain-incremental); with
// heads per task it is that place in the group's own head (task-incremental).
type split struct {
	gallery
	groups []classGroup
}

type classGroup struct {
	images []int32 // examples_per_class of each class in turn
	held   []int32
	order  *presentation // shared by groups of one size
}

func newSplit(c splitConfig, env stream.Env) (stream.Stream, error) {
	g, err := newGallery(env, c.Dataset, c.Scale, 0, 0)
	if err != nil {
		return nil, err
	}
	info, err := c.Info()
	if err != nil {
		return nil, err
	}
	s := &split{gallery: g}
	m := g.images
	ofClass, heldOf := make([][]int32, m.classes), make([][]int32, m.classes)
	for i := range int32(m.train.n) {
		ofClass[m.train.class(i)] = append(ofClass[m.train.class(i)], i)
	}
	for i := range int32(m.test.n) {
		heldOf[m.test.class(i)] = append(heldOf[m.test.class(i)], i)
	}
	classes := choose(m.classes, 0, rng.Key{})
	if c.ClassOrder == "seeded" {
		env.Key("classes").Perm(classes, 0)
	}
	if len(c.Classes) > 0 {
		classes = classes[:0]
		for _, class := range c.Classes {
			classes = append(classes, int32(class))
		}
	}
	subset, order := env.Key("subset"), env.Key("order")
	drawn := make([]int32, m.train.n)
	perTask := info.StepsPerTask * int64(c.Batch)
	first := 0
	for number, size := range c.sizes(m.classes) {
		var group classGroup
		for place, class := range classes[first : first+size] {
			have := ofClass[class]
			if len(have) < c.ExamplesPerClass {
				return nil, component.Fieldf("examples_per_class", "class %d of %s has %d training examples, %d are asked for: ask for fewer",
					class, titled(c.Dataset), len(have), c.ExamplesPerClass)
			}
			drawn = drawn[:len(have)]
			subset.Perm(drawn, uint64(class))
			for _, k := range drawn[:c.ExamplesPerClass] {
				group.images = append(group.images, have[k])
			}
			switch c.Head {
			case "shared":
				s.names[class] = int32(place)
			case "per-task":
				s.names[class] = int32(number*c.largest() + place)
			}
		}
		// Measurements look at the first of these, which must not be all of one class.
		for i, more := 0, true; more; i++ {
			more = false
			for _, class := range classes[first : first+size] {
				if i < len(heldOf[class]) {
					group.held, more = append(group.held, heldOf[class][i]), true
				}
			}
		}
		if n := len(s.groups); n > 0 && len(s.groups[n-1].images) == len(group.images) {
			group.order = s.groups[n-1].order
		} else {
			group.order = newPresentation(order, len(group.images), perTask, false)
		}
		s.groups = append(s.groups, group)
		first += size
	}
	return s, nil
}

// Enter implements [stream.Stream].
func (s *split) Enter(task int) error {
	group := &s.groups[task%len(s.groups)]
	s.chosen, s.held, s.order = group.images, group.held, group.order
	s.enter(task)
	return nil
}
