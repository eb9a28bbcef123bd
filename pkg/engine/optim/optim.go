// Package optim has optimisers: element-wise update rules, written as graph
// expressions of one parameter's weight, gradient and state, so that they can
// be compiled into the training program.
package optim

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
)

// Optimizer turns gradients into new weights.
type Optimizer interface {
	// Update returns the new value of u.W; state is kept through u.
	Update(u *Update) graph.Node
}

// Preparer is implemented by optimisers whose update of a parameter depends on
// the other parameters.
type Preparer interface {
	// Prepare is given the updates of all parameters, with their gradients,
	// before Update is called with each of them.
	Prepare(us []*Update)
}

// Update is the element-wise update of one parameter, being traced.
type Update struct {
	B     *graph.Builder
	Param *nn.Param
	W     graph.Node // weight before the step
	G     graph.Node // gradient, as methods earlier in the spec left it

	tracer *Tracer
	space  graph.Space // of who updates
}

// name returns what a variable of this parameter is called in the space.
func (u *Update) name(of string) string { return of + "/" + u.Param.Var.Name }

// State returns a per-weight state array of this parameter, made at first use
// with every element at reset, the value it goes back to when a method
// reinitialises the weight. Read it with u.B.Read, write it with u.B.Assign.
func (u *Update) State(name string, reset float32) *graph.Var {
	if v := u.space.Lookup(u.name(name)); v != nil {
		return v
	}
	v := u.space.State(u.name(name), graph.F32, u.Param.Var.Shape...)
	for i := range v.F32 {
		v.F32[i] = reset
	}
	states := u.tracer.States
	states.byParam[u.Param] = append(states.byParam[u.Param], state{v, reset, u.space})
	return v
}

// Average returns decay·s + (1−decay)·x of the state array s, which it becomes.
// What has decayed below kernel.Tiny is 0.
func (u *Update) Average(s *graph.Var, decay float64, x graph.Node) graph.Node {
	b := u.B
	now := b.Scale(float32(1-decay), x)
	if decay != 0 { // else it is the same, and s need not be read
		now = b.Add(b.Scale(float32(decay), b.Read(s)), now)
	}
	now = b.Flush(now)
	b.Assign(s, now)
	return now
}

// Correction returns 1 − decay^t after t steps since the start, or since the
// weight was reinitialised, which bias corrections divide by. It is one number
// for the whole parameter unless a method reinitialises single weights. The
// recursion c ← decay·c + (1 − decay) does not cancel in the first steps, as
// 1 − decay^t would.
func (u *Update) Correction(name string, decay float64) graph.Node {
	states := u.tracer.States
	v := u.space.Lookup(u.name(name))
	if v == nil {
		if states.PerWeight {
			v = u.State(name, 0)
		} else {
			v = u.space.State(u.name(name), graph.F32)
		}
	}
	states.clocks[v] = u.space
	now := u.B.Add(u.B.Scale(float32(decay), u.B.Read(v)), u.B.Const(float32(1-decay)))
	u.B.Assign(v, now)
	return now
}

// Initial returns the parameter's value at the start of the run.
func (u *Update) Initial() graph.Node { return u.B.Read(u.tracer.Initial(u.Param)) }

// Noise returns one standard normal per weight and step.
func (u *Update) Noise(purpose string) graph.Node {
	return u.B.Normal(u.tracer.Key(u.space.Name()+"/"+u.name(purpose)), u.Param.Var.Shape...)
}

// States knows the per-weight state of every parameter, so that methods can
// reset what belongs to a weight that they reinitialise.
type States struct {
	// PerWeight asks optimisers to count steps weight by weight; set before
	// the first update is traced, when a method reinitialises single weights.
	PerWeight bool
	optimizer graph.Space // whose Restart is
	byParam   map[*nn.Param][]state
	clocks    map[*graph.Var]graph.Space // corrections, and who made them
}

type state struct {
	v     *graph.Var
	reset float32
	space graph.Space
}

// Reset puts the state of elements [from, to) of a parameter back to its
// start.
func (s *States) Reset(p *nn.Param, from, to int) {
	for _, st := range s.byParam[p] {
		for i := from; i < to; i++ {
			st.v.F32[i] = st.reset
		}
	}
}

// Restart makes the optimiser count its steps from the start again; with
// moments, everything else that it keeps per weight goes back to its start, too.
func (s *States) Restart(moments bool) {
	for v, space := range s.clocks {
		if space == s.optimizer {
			clear(v.F32)
		}
	}
	if !moments {
		return
	}
	for p, states := range s.byParam {
		for _, st := range states {
			if st.space == s.optimizer {
				for i := range p.Var.F32 {
					st.v.F32[i] = st.reset
				}
			}
		}
	}
}

// Tracer makes the Updates of one network's parameters.
type Tracer struct {
	States *States
	Key    func(purpose string) rng.Key
	// Reborn says that parameters are drawn anew while the learner lives, so that
	// their initial values are state; set before the first of them is asked for.
	Reborn bool

	optimizer graph.Space
	initials  graph.Space
	initial   map[*nn.Param]*graph.Var
}

// NewTracer returns a tracer whose parameters have their initial values now:
// it is made before the first step and before a checkpoint is restored. The
// optimiser's states, and the initial values where they are asked for, belong to
// owner.
func NewTracer(store *graph.Store, owner graph.Owner, key func(purpose string) rng.Key) *Tracer {
	optimizer := store.Space(owner, "optimizer")
	return &Tracer{
		Key:       key,
		States:    &States{optimizer: optimizer, byParam: map[*nn.Param][]state{}, clocks: map[*graph.Var]graph.Space{}},
		optimizer: optimizer, initials: store.Space(owner, "initial"), initial: map[*nn.Param]*graph.Var{},
	}
}

// Update returns the update of one parameter for a method, whose states are in
// its space.
func (t *Tracer) Update(b *graph.Builder, p *nn.Param, space graph.Space, w, g graph.Node) *Update {
	return &Update{B: b, Param: p, W: w, G: g, tracer: t, space: space}
}

// Edits are what stands between the gradients and the optimiser, and between the
// optimiser and the weights: the methods of a learner. Either may be nil.
type Edits struct {
	Gradient func(p *nn.Param, w, g graph.Node) graph.Node
	Weight   func(u *Update, next graph.Node) graph.Node
}

// Descend traces one update of all parameters that are not frozen, in the
// optimiser's way; gradients are parallel to params.
func (t *Tracer) Descend(b *graph.Builder, o Optimizer, params []*nn.Param, gradients []graph.Node, edits Edits) {
	var updates []*Update
	for i, p := range params {
		if p.Frozen {
			continue
		}
		w, g := b.Read(p.Var), gradients[i]
		if edits.Gradient != nil {
			g = edits.Gradient(p, w, g)
		}
		updates = append(updates, t.Update(b, p, t.optimizer, w, g))
	}
	if h, ok := o.(Preparer); ok {
		h.Prepare(updates)
	}
	for _, u := range updates {
		next := o.Update(u)
		if edits.Weight != nil {
			next = edits.Weight(u, next)
		}
		b.Assign(u.Param.Var, next)
	}
}

// Initial returns a variable that holds a parameter's initial value.
func (t *Tracer) Initial(p *nn.Param) *graph.Var {
	if v := t.initial[p]; v != nil {
		return v
	}
	keep := graph.Derived
	if t.Reborn {
		keep = graph.Persistent
	}
	v := t.initials.New(p.Var.Name, graph.F32, keep, p.Var.Shape...)
	copy(v.F32, p.Var.F32)
	t.initial[p] = v
	return v
}

// Env is what an optimiser is built in; optimisers need nothing beyond their
// configuration.
type Env struct{}

var registry = component.NewRegistry[Env, Optimizer]("optimizer")

// Register adds an optimiser; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C) Optimizer) {
	component.Add(registry, info, def, presets, func(c C, _ Env) (Optimizer, error) { return build(c), nil })
}

// Resolved is an optimiser of a spec, ready to build.
type Resolved = component.Resolved[Env, Optimizer]

// Resolve decodes the optimiser object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }

// Nested is an optimiser as a parameter of another component: its name, or an
// object with its kind and parameters.
type Nested struct{ *Resolved }

// NewNested returns the optimiser of an object. It panics if there is none.
func NewNested(raw map[string]any) Nested {
	r, err := registry.Resolve("optimizer", raw)
	if err != nil {
		panic(err)
	}
	return Nested{r}
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Nested) UnmarshalJSON(b []byte) (err error) {
	n.Resolved, err = registry.ResolveJSON(b)
	return err
}

// MarshalJSON implements [json.Marshaler].
func (n Nested) MarshalJSON() ([]byte, error) { return n.CanonicalJSON() }

// JSONSchema implements [component.Schemer].
func (Nested) JSONSchema() map[string]any { return registry.NestedSchema() }

// checkLR is shared by the optimisers' Validate.
func checkLR(lr float64) error {
	if !(lr > 0 && lr <= 1e3) {
		return component.Fieldf("lr", "must be above 0 and at most 1000, is %v", lr)
	}
	return nil
}

// checkDecay checks a decay factor in [0, 1).
func checkDecay(name string, v float64) error {
	if !(v >= 0 && v < 1) {
		return component.Fieldf(name, "must be in [0, 1), is %v", v)
	}
	return nil
}

// checkEpsilon checks what keeps a divisor from 0.
func checkEpsilon(v float64) error {
	if !(v > 0 && v <= 1) {
		return component.Fieldf("epsilon", "must be above 0 and at most 1, is %v", v)
	}
	return nil
}

// checkNotNegative checks a number that may be 0.
func checkNotNegative(name string, v float64) error {
	if !(v >= 0 && v <= 1e6) {
		return component.Fieldf(name, "must be between 0 and 1e6, is %v", v)
	}
	return nil
}
