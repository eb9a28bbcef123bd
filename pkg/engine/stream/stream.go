// Package stream has task sequences: what a learner is shown, task after task.
// Streams register themselves; each is one file in package streams.
package stream

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// Stream is a sequence of stationary tasks. A batch is a function of (seed,
// task, step): a stream holds nothing that a checkpoint would have to keep,
// and a longer sequence starts with the shorter one.
type Stream interface {
	// Enter moves to a task, in any order; what is costly about it (a
	// permutation, labels) is computed here.
	Enter(task int) error
	// Batch fills b with the mini-batch of a step of the entered task: examples
	// step·N to step·N + N − 1 of it, for any number N of examples.
	Batch(step int64, b *Batch)
	// Sample fills b with b.N examples of the entered task, always the same,
	// for measurements. A stream with fewer examples repeats them.
	Sample(b *Batch)
}

// Tester is implemented by streams that hold examples back: those that a
// learner is tested on, and never shown in training.
type Tester interface {
	// TestSize returns how many held-out examples the entered task has; 0 for
	// none.
	TestSize() int
	// Test fills b with the b.N held-out examples of the entered task from
	// number first on, going round behind the last.
	Test(first int, b *Batch)
}

// Relabeler is implemented by streams that give what they have shown other
// labels in the midst of a task.
type Relabeler interface {
	// Label returns the label that training example number index (Batch.Index) has
	// when the given example of the entered task is shown.
	Label(example int64, index int32) int32
}

// Batch is a mini-batch of n examples.
type Batch struct {
	N       int
	Task    int       // the task that they are of, which the life fills in
	X       []float32 // [n][inputs]
	Labels  []int32   // [n]; classification
	Targets []float32 // [n][outputs]; regression
	// Index says which of the stream's Info.Examples each example is, −1 for one
	// that is held out: [n], nil where a stream does not number its examples.
	Index []int32
}

// NewBatch returns room for n examples of a stream.
func NewBatch(info Info, n int) *Batch {
	b := &Batch{N: n, X: tensor.Float32s(n * info.Input.Elems())}
	if info.Examples > 0 {
		b.Index = make([]int32, n)
	}
	if info.Classes > 0 {
		b.Labels = make([]int32, n)
	} else {
		b.Targets = tensor.Float32s(n * info.Outputs)
	}
	return b
}

// Info is what the rest of a spec must know of a stream; it follows from the
// configuration alone, without any data.
type Info struct {
	Input tensor.Shape // of one example
	// ChannelsFirst says that images with channels are [channels][height][width], as
	// datasets have them, and not [height][width][channels], as networks do.
	ChannelsFirst bool
	Classes       int // 0 for regression
	Outputs       int // logits, or dimensions of the target
	Head          int // outputs of one task's head; 0 where tasks share all outputs
	Tasks         int
	StepsPerTask  int64
	Batch         int
	// Examples is how many different examples a stream has that shows the same
	// ones again and again, and numbers them; 0 for others.
	Examples int
	// Distinct is after how many tasks a stream comes back to the first; 0 for one
	// that never does.
	Distinct int
	Datasets []string
}

// HeadOf returns the outputs that a task has to itself, [first, first+n): all
// of them where tasks share one head. Where there are fewer heads than tasks
// they come round again.
func (i Info) HeadOf(task int) (first, n int) {
	if i.Head == 0 || i.Head >= i.Outputs {
		return 0, i.Outputs
	}
	return task % (i.Outputs / i.Head) * i.Head, i.Head
}

// Config is a stream's configuration.
type Config interface {
	component.Config
	// Info describes the stream. It is called on a validated configuration
	// and reports what does not fit together.
	Info() (Info, error)
}

// Env is what a stream is built in.
type Env struct {
	// Key returns the random key of a purpose, for example "permutation". It is
	// made of the run's seed and the purpose, so that every arm sees the same
	// stream.
	Key  func(purpose string) rng.Key
	Data data.Source
	// Artifacts are files of other runs, for streams that are made from one.
	component.Artifacts
}

var registry = component.NewRegistry[Env, Stream]("stream")

// Register adds a stream; see [component.Add].
func Register[C Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Stream, error)) {
	component.Add(registry, info, def, presets, build)
}

// Resolved is a stream of a spec, ready to build.
type Resolved = component.Resolved[Env, Stream]

// Resolve decodes the stream object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }

// MaxTasks and MaxSteps bound how long a run may be.
const (
	MaxTasks = 1 << 24
	MaxSteps = 1 << 40
)

// CheckLength checks the parameters that most streams share, and returns the
// steps of a task. It is for use in Validate and Info.
func CheckLength(tasks, examplesPerTask, batch int) (stepsPerTask int64, err error) {
	switch {
	case tasks < 1 || tasks > MaxTasks:
		return 0, component.Fieldf("tasks", "must be between 1 and %d, is %d", MaxTasks, tasks)
	case examplesPerTask < 1:
		return 0, component.Fieldf("examples_per_task", "must be at least 1, is %d", examplesPerTask)
	case batch < 1 || batch > 1<<16:
		return 0, component.Fieldf("batch", "must be between 1 and %d, is %d", 1<<16, batch)
	case batch > examplesPerTask:
		return 0, component.Fieldf("batch", "must be at most the %d examples of a task, is %d", examplesPerTask, batch)
	case examplesPerTask%batch != 0:
		return 0, component.Fieldf("batch", "%d does not divide the %d examples of a task; take %d examples or another batch",
			batch, examplesPerTask, examplesPerTask/batch*batch)
	}
	steps := int64(examplesPerTask / batch)
	if steps > MaxSteps/int64(tasks) {
		return 0, component.Fieldf("tasks", "%d tasks of %d steps are more than %d steps in all", tasks, steps, int64(MaxSteps))
	}
	return steps, nil
}
