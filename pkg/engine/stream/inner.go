package stream

import (
	"encoding/json"
	"errors"

	"neoteny/pkg/engine/component"
)

// Inner is a parameter that holds a stream: what a stream is that shows the
// tasks of another one in its own way. In a spec it is the stream's object, or
// its name where it has its default parameters. Its number of tasks does not
// matter: a stream goes on without end.
type Inner struct {
	name     string // of a default, which is resolved when a spec is read
	resolved *Resolved
}

// InnerNamed returns the stream of that name with its default parameters.
func InnerNamed(name string) Inner { return Inner{name: name} }

// UnmarshalJSON implements [json.Unmarshaler].
func (i *Inner) UnmarshalJSON(b []byte) (err error) {
	i.resolved, err = registry.ResolveJSON(b)
	return err
}

// MarshalJSON implements [json.Marshaler].
func (i Inner) MarshalJSON() ([]byte, error) {
	if i.resolved == nil {
		return json.Marshal(i.name)
	}
	return i.resolved.CanonicalJSON()
}

// JSONSchema implements [component.Schemer].
func (Inner) JSONSchema() map[string]any { return registry.NestedSchema() }

// Outer returns the description of a stream of that many tasks that shows those
// of the inner one. Examples of different tasks meet in one batch, so they
// cannot have heads of their own. It is for use in Validate and Info; field is
// the parameter's name.
func (i Inner) Outer(field string, tasks int) (Info, error) {
	info, err := i.Alone(field, tasks)
	if info.Head > 0 {
		err = errors.Join(component.Fieldf(field, "%s has heads of the tasks' own, but a batch here can have examples of several tasks", i.resolved.Name), err)
	}
	return info, err
}

// Alone is Outer where a batch has examples of one task only.
func (i Inner) Alone(field string, tasks int) (Info, error) {
	if i.resolved == nil { // a default, at registration
		return Info{}, nil
	}
	info, err := i.resolved.Config.(Config).Info()
	if err != nil {
		return Info{}, component.At(field, err)
	}
	if tasks < 1 || tasks > MaxTasks || info.StepsPerTask > MaxSteps/int64(max(1, tasks)) {
		err = component.Fieldf("tasks", "must be between 1 and %d, of %d steps at most in all, is %d", MaxTasks, int64(MaxSteps), tasks)
	}
	info.Tasks = tasks
	return info, err
}

// Build makes the inner stream. All that are built in one environment are the
// same stream.
func (i Inner) Build(env Env) (Stream, error) { return i.resolved.Build(env) }

// Copy makes example to of b a copy of example from of another batch.
func (b *Batch) Copy(to int, other *Batch, from int) {
	x, y := len(b.X)/b.N, len(b.Targets)/b.N
	copy(b.X[to*x:(to+1)*x], other.X[from*x:(from+1)*x])
	copy(b.Targets[to*y:(to+1)*y], other.Targets[from*y:])
	if b.Labels != nil {
		b.Labels[to] = other.Labels[from]
	}
	if b.Index != nil {
		b.Index[to] = other.Index[from]
	}
}
