// Package analysis has pure functions over what finished runs have left: their
// artifacts and task tables. An analysis gives metrics, one number each, and may
// give artifacts, which runs may start from in turn. Analyses register
// themselves; each is one file in package analyses.
package analysis

import (
	"context"
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
)

// Table is the name under which an analysis gets a run's task table, as any
// artifact.
const Table = "table"

// Info describes an analysis.
type Info struct {
	component.Info
	// Inputs are the names of what it needs; a spec says which run's artifact
	// each of them is.
	Inputs []Input
	// Metrics are the numbers that it gives.
	Metrics []string
	// Data says that it reads the datasets of the runs that it looks at.
	Data bool
}

// Input is something that an analysis needs.
type Input struct {
	Name string
	Doc  string
	Many bool // of any number of seeds; else of one
}

// Given is one artifact of one run.
type Given struct {
	Seed  uint32 // of the run
	File  []byte // the artifact; nil for a task table
	Table *Columns
	// Spec is the canonical spec of the run: stream, learner and probes. It is
	// nil where the artifact comes from another analysis.
	Spec map[string]any
}

// Columns is a run's task table: a value per task for every metric, by name
// ("metric" or "metric/layer"), NaN where it was not measured.
type Columns map[string][]float64

// Env is what an analysis works on.
type Env struct {
	// Context ends when the result is not wanted any more; what takes long looks
	// at it now and then.
	Context context.Context
	// Inputs are the artifacts by the names of [Info], in order of seed.
	Inputs map[string][]Given
	Data   data.Source
}

// One returns the only artifact of a name.
func (e Env) One(name string) (Given, error) {
	if n := len(e.Inputs[name]); n != 1 {
		return Given{}, fmt.Errorf("needs %s of one run, was given %d", name, n)
	}
	return e.Inputs[name][0], nil
}

// Result is what an analysis gives: every metric of its Info, and every artifact.
type Result struct {
	Metrics   map[string]float64
	Artifacts map[string][]byte
}

var (
	registry = component.NewRegistry[Env, *Result]("analysis")
	infos    = map[string]Info{}
)

// Register adds an analysis; see [component.Add]. run is a pure function: the
// same artifacts give the same bits on every machine.
func Register[C component.Config](info Info, def C, presets map[string]C, run func(C, Env) (*Result, error)) {
	if len(info.Inputs) == 0 || len(info.Metrics) == 0 {
		panic(fmt.Sprintf("analysis: %s: no inputs or no metrics", info.Name))
	}
	component.Add(registry, info.Info, def, presets, run)
	infos[info.Name] = info
}

// Resolved is an analysis of a spec, ready to run.
type Resolved struct {
	*component.Resolved[Env, *Result]
	Info Info
}

// Resolve decodes the analysis object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) {
	r, err := registry.Resolve(path, raw)
	if err != nil {
		return nil, err
	}
	return &Resolved{r, infos[r.Name]}, nil
}

// Run computes the analysis and checks that it gives what it says.
func (r *Resolved) Run(env Env) (*Result, error) {
	for _, in := range r.Info.Inputs {
		if n := len(env.Inputs[in.Name]); n == 0 || n > 1 && !in.Many {
			return nil, fmt.Errorf("%s: %s of %d runs", r.Info.Name, in.Name, n)
		}
	}
	out, err := r.Build(env)
	if err != nil {
		return nil, err
	}
	for name := range out.Metrics {
		if !slices.Contains(r.Info.Metrics, name) {
			return nil, fmt.Errorf("%s: gives a metric %s that it does not announce", r.Info.Name, name)
		}
	}
	for _, name := range r.Info.Metrics {
		if _, ok := out.Metrics[name]; !ok {
			return nil, fmt.Errorf("%s: gives no %s", r.Info.Name, name)
		}
	}
	return out, nil
}

// InfoOf returns the description of the analysis of that name.
func InfoOf(name string) (info Info, ok bool) {
	info, ok = infos[name]
	return info, ok
}
