// Package probe has measurements: what of a learner's life is recorded. Probes
// register themselves; each is one file in package probes.
package probe

import (
	"fmt"
	"math"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// Probe is a measurement: a Stepper, a Measurer or a TaskMeasurer, possibly a
// Tracer. What it must remember from one measurement to the next is in
// variables made with [Env.State].
type Probe interface {
	// Columns names the values that the probe fills in, in order.
	Columns() []Column
}

// Column names one series of values.
type Column struct {
	Metric string // snake_case
	Layer  string // empty for the whole network
}

// String returns metric or metric/layer.
func (c Column) String() string {
	if c.Layer == "" {
		return c.Metric
	}
	return c.Metric + "/" + c.Layer
}

// Stepper measures every training step, from what the step leaves behind. It
// must not allocate.
type Stepper interface {
	Step(s *learner.Step, values []float32)
}

// Measurer measures the learner at rest: at the end (or start) of a task, or
// every so many steps.
type Measurer interface {
	// Samples is how many examples of the current task it evaluates; with 0
	// Measure gets a nil evaluation.
	Samples() int
	Measure(e *learner.Evaluation, values []float32) error
}

// TaskMeasurer measures the learner at rest, on other tasks than the present
// one too.
type TaskMeasurer interface {
	MeasureTasks(t Tasks, values []float32) error
}

// Beginner is implemented by a Measurer or TaskMeasurer that looks at the
// learner once before its first step, too, whatever its schedule is.
type Beginner interface {
	Begin(t Tasks) error
}

// Tasks lets a [TaskMeasurer] look at any task of the stream. A stream goes on
// without end for it: there are tasks beyond the run's last one.
type Tasks interface {
	// Now is the task that begins, is under way, or has just ended.
	Now() int
	// Learned is how many tasks have begun to be learned: Now where the present
	// one is only about to begin, else one more.
	Learned() int
	// Evaluate runs the learner on the first n held-out examples of a task, at
	// most as many as it has; where the stream holds none back, on n examples of
	// its training. The result is valid until the next call.
	Evaluate(task, n int) (*learner.Evaluation, error)
	// EvaluateTraining does so on n examples of a task's training, those that a
	// Measurer is given for the present one.
	EvaluateTraining(task, n int) (*learner.Evaluation, error)
}

// Tracer adds outputs to the training program, for a Stepper to read.
type Tracer interface {
	// Trace is called once, while the training program is traced; gradients
	// are those of the loss with all penalties, parallel to the network's
	// parameters.
	Trace(b *graph.Builder, gradients []graph.Node)
	// Traced hands over the compiled program.
	Traced(p *graph.Program)
}

// Metric describes a series that a probe may emit: what tables and pictures call it,
// and which values it can have.
type Metric struct {
	Metric string // its name, snake_case
	Title  string // in words, as a picture is headed: "Online accuracy"
	Unit   string // what a value counts: "share of examples"; "" for a number without a unit
	Range  Range  // values never leave it
	Better Better
}

// String says what the metric is, as in "Online accuracy, share of examples, from 0 to 1, more is better".
func (m Metric) String() string {
	s := m.Title
	if m.Unit != "" {
		s += ", " + m.Unit
	}
	switch low, high := m.Range.Ends(); {
	case !math.IsInf(high, 0):
		s += fmt.Sprintf(", from %v to %v", low, high)
	case !math.IsInf(low, 0):
		s += fmt.Sprintf(", at least %v", low)
	}
	switch m.Better {
	case Higher:
		s += ", more is better"
	case Lower:
		s += ", less is better"
	}
	return s
}

// Range is an interval of values. The zero range has no ends.
type Range struct{ Low, High float64 }

// Ranges that most metrics have.
var (
	Share    = Range{0, 1}
	Signed   = Range{-1, 1} // the difference of two shares
	Positive = Range{0, math.Inf(1)}
)

// Ends returns the ends of the range, infinite where it has none.
func (r Range) Ends() (low, high float64) {
	if r == (Range{}) {
		return math.Inf(-1), math.Inf(1)
	}
	return r.Low, r.High
}

// Better says which values of a metric one wants.
type Better int8

// What one wants of a metric; the zero value is for what is neither good nor bad.
const (
	Lower  Better = -1
	Higher Better = 1
)

// Info describes a probe.
type Info struct {
	component.Info
	Metrics []Metric
	Every   string // default schedule: "step" or "task"
	At      string // default point for "task": "start" or "end"
	Reduce  string // default aggregate: "mean", which "" stands for, "last" or "max"
	// Remembers says that a measurement depends on more than the learner as it
	// is then: on variables of the probe's own, or a look at the beginning.
	Remembers bool
}

// Env is what a probe is built in.
type Env struct {
	// Network is nil where the learner is none of a single network.
	Network nn.Network
	Info    stream.Info
	Classes int
	Batch   int
	// Space is of the probe's variables. Its name is unique among the probes of a
	// learner: what a Tracer adds to the training program is named after it.
	Space graph.Space
	// Key returns the random key of a purpose of this probe.
	Key func(purpose string) rng.Key
	// Forward traces the network and its prediction losses for a batch of n, as
	// evaluations do, into a program of the probe's own: for gradients, products
	// with the Hessian, or training that is undone again. Fill gives the program
	// its batch.
	Forward func(b *graph.Builder, n int) (net nn.Activations, losses graph.Node)
	Fill    func(p *graph.Program, b *stream.Batch)
	// Artifacts are files of other runs, for probes that compare with one.
	component.Artifacts
}

// State makes a persistent variable of the probe.
func (e Env) State(name string, t graph.DType, shape ...int) *graph.Var {
	return e.Space.State(name, t, shape...)
}

// Shared are the parameters that all probes have beside their own: when they
// measure, and what becomes of it.
var Shared = []string{"every", "at", "reduce", "as", "deferred"}

var (
	registry = component.NewRegistry[Env, Probe]("probe", Shared...)
	infos    = map[string]Info{}
)

// Register adds a probe; see [component.Add].
func Register[C component.Config](info Info, def C, presets map[string]C, build func(C, Env) (Probe, error)) {
	if len(info.Metrics) == 0 || (info.Every != "step" && info.Every != "task") || (info.Every == "task" && info.At != "start" && info.At != "end") || (info.Reduce != "" && info.Reduce != "mean" && info.Reduce != "last" && info.Reduce != "max") {
		panic(fmt.Sprintf("probe: %s: metrics %v, every %q, at %q, reduce %q", info.Name, info.Metrics, info.Every, info.At, info.Reduce))
	}
	for _, m := range info.Metrics {
		if low, high := m.Range.Ends(); m.Metric == "" || m.Title == "" || !(low < high) {
			panic(fmt.Sprintf("probe: %s: metric %q with title %q in [%v, %v]", info.Name, m.Metric, m.Title, low, high))
		}
	}
	component.Add(registry, info.Info, def, presets, build)
	infos[info.Name] = info
}

// Names returns the names of the metrics that the probe may emit.
func (i Info) Names() []string {
	names := make([]string, len(i.Metrics))
	for k, m := range i.Metrics {
		names[k] = m.Metric
	}
	return names
}

// Describe returns what a registered probe says of one of its metrics, and the probe.
func Describe(metric string) (Metric, Info, bool) {
	for _, info := range infos {
		if i := slices.IndexFunc(info.Metrics, func(m Metric) bool { return m.Metric == metric }); i >= 0 {
			return info.Metrics[i], info, true
		}
	}
	return Metric{}, Info{}, false
}

// Of returns what a probe is registered with, by its kind.
func Of(kind string) (Info, bool) {
	info, ok := infos[kind]
	return info, ok
}

// Resolved is a probe of a spec, ready to build.
type Resolved = component.Resolved[Env, Probe]

// Resolve decodes the probe object that stands at path in a spec, without the
// parameters of its schedule.
func Resolve(path string, raw map[string]any) (*Resolved, Info, error) {
	r, err := registry.Resolve(path, raw)
	if err != nil {
		return nil, Info{}, err
	}
	return r, infos[r.Name], nil
}
