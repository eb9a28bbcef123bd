package architecture

import (
	"cmp"
	"errors"
	"slices"
	"sort"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/methods/internal/recycle"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "clnp",
		Paper:   "Golkar, Kagan & Cho 2019, Continual Learning via Neural Pruning",
		Summary: "units that a task needs are frozen when it has ended, the others are free for later tasks",
		Needs:   []component.Capability{component.Units, component.Gradients, component.Classification},
		Trial: component.Trial{
			Inert:  []component.Object{{"lambda": 0.0, "freeze": false}},
			Lively: component.Object{"lambda": 0.001, "margin": 0.2, "samples": 12.0},
		},
	}, clnpConfig{Lambda: 1e-5, Margin: 0.005, Samples: 500, Freeze: true}, nil, newCLNP)
}

type clnpConfig struct {
	Lambda  float64 `json:"lambda" doc:"strength of the penalty λ·Σ|w| on weights (not biases), which makes units idle"`
	Margin  float64 `json:"margin" doc:"m: accuracy on the task, as a fraction of all examples, that pruning may cost (graceful forgetting)"`
	Samples int     `json:"samples" doc:"examples of the task that activity and accuracy are measured on"`
	Freeze  bool    `json:"freeze" doc:"false leaves the network as it is when a task ends, so that only the penalty is left"`
}

func (c clnpConfig) Validate() error {
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e3), check.Range("margin", c.Margin, 0, 1), check.Count("samples", c.Samples, check.MostExamples))
}

// clnp divides the hidden units of every layer l, when a task has ended, by their
// mean activity a_i = mean |h_i| over n examples of the task:
//
//	active   units of earlier tasks, and those with a_i > θ_l
//	free     the rest
//
// and sets (section 2 of the paper)
//
//	weights and biases into active units from the input and active units   frozen
//	weights from free units into active ones and the task's head           0, frozen
//	weights and biases into free units                                     drawn anew
//
// so that what the network gives for the task depends on frozen numbers only:
// no later training changes one bit of it. Later tasks read the active units as
// they are. θ_l is the largest at which the accuracy on the n examples falls by
// no more than m·l/L, with layers 1 … l of L cut; the paper scans for thresholds
// that cost m, too, and leaves open how layers share the cost. The search takes
// accuracy to fall with the number of units that are cut off. While a task is
// learned λ·sign(w) is added to the gradient of every weight. The optimiser
// starts every task from its initial state.
//
// The output layer is frozen head by head; where tasks share all outputs it is not
// frozen, and the tasks before do change. Parameters that are neither of a unit
// nor of the output layer are frozen with the first task. The running statistics
// of batch normalisation are no parameters and go on changing.
type clnp struct {
	cfg     clnpConfig
	info    stream.Info
	states  *optim.States
	params  []*nn.Param
	layers  []*clnpLayer
	frozen  map[*nn.Param]*graph.Var // 1 for elements that keep their values
	trained []uint8                  // [outputs], whether it is of a head that has been trained

	memory    *memory.Memory
	batch     *stream.Batch
	gradients method.Gradients
}

// clnpLayer is what is known of one layer's units. The probe free-units finds
// allocated and active by their names.
type clnpLayer struct {
	units     *nn.Units
	allocated []int32    // 1 + the task that a unit was allocated to; 0 for free ones
	active    []uint8    // whether a unit was above the last task's threshold
	activity  *graph.Var // a_i of the last forward pass
	new       *recycle.Recycler
}

func newCLNP(c clnpConfig, env method.Env) (method.Method, error) {
	m := &clnp{
		cfg: c, info: env.Info, states: env.States, params: env.Network.Params(), frozen: map[*nn.Param]*graph.Var{},
		memory: memory.New(env, "task", memory.Reservoir, c.Samples, false), batch: memory.BatchOf(env, c.Samples),
		trained: env.State("trained", graph.U8, env.Outputs).U8,
	}
	for _, p := range m.params {
		m.frozen[p] = env.State("frozen/"+p.Var.Name, graph.F32, p.Var.Shape...)
	}
	for _, u := range env.Network.Units() {
		m.layers = append(m.layers, &clnpLayer{
			units: u, new: recycle.New(env, u),
			allocated: env.State("allocated/"+u.Layer, graph.I32, u.N).I32,
			active:    env.State("active/"+u.Layer, graph.U8, u.N).U8,
			activity:  env.Space.New("activity/"+u.Layer, graph.F32, graph.Transient, u.N),
		})
	}
	m.freeze(0)
	return m, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *clnp) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Lambda == 0 || u.Param.Role != nn.Weight {
		return u.G
	}
	return u.B.Add(u.G, u.B.Scale(float32(m.cfg.Lambda), u.B.Sign(u.W)))
}

// UpdateWeight implements [method.WeightUpdater]. It selects and does not
// multiply, so that neither moments nor decay move a frozen weight.
func (m *clnp) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if !m.cfg.Freeze {
		return w
	}
	return u.B.Select(u.B.Read(m.frozen[u.Param]), u.W, w)
}

// GradientBatch implements [method.SecondGradient].
func (m *clnp) GradientBatch() int { return m.cfg.Samples }

// UseGradients implements [method.SecondGradient].
func (m *clnp) UseGradients(g method.Gradients) { m.gradients = g }

// Objective implements [method.Objective]: wanted is no gradient but a forward
// pass that measures activity.
func (m *clnp) Objective(t *method.Trace) graph.Node {
	for i, l := range m.layers {
		mean := t.B.MeanAxes(t.B.Abs(t.Net.Features[i]), 0)
		t.B.Assign(l.activity, t.B.Reshape(mean, l.units.N))
	}
	return t.B.Const(0)
}

// AfterStep implements [method.AfterStep]: it remembers a sample of the task.
func (m *clnp) AfterStep(s *learner.Step) error {
	if m.cfg.Freeze {
		m.memory.Add(s.Batch, s.Task, nil)
	}
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *clnp) TaskBoundary(s *learner.Step) error {
	if !m.cfg.Freeze {
		return nil
	}
	if err := m.allocate(s.Task); err != nil {
		return err
	}
	m.memory.Forget()
	for _, l := range m.layers { // input side first: what leads into a unit is drawn after what leads from the layer before is 0
		for u, task := range l.allocated {
			if task == 0 {
				l.new.Recycle(s.Index, u)
			}
		}
	}
	if first, n := m.info.HeadOf(s.Task); n < m.info.Outputs {
		for o := first; o < first+n; o++ {
			m.trained[o] = 1
		}
	}
	m.freeze(s.Task + 1)
	m.states.Restart(true)
	return nil
}

// allocate finds the thresholds and with them the units of the task.
func (m *clnp) allocate(task int) error {
	held, one := m.memory.Len(), *m.batch
	for i := range m.batch.N { // of a short task examples count several times
		one.N, one.X, one.Labels = 1, m.batch.X[i*m.info.Input.Elems():], m.batch.Labels[i:]
		m.memory.Take(&one, i%held)
	}
	m.batch.Task = task
	whole, err := m.correct()
	if err != nil {
		return err
	}
	var before [][]float32
	for _, p := range m.params {
		before = append(before, slices.Clone(p.Var.F32))
	}
	restore := func() {
		for k, p := range m.params {
			copy(p.Var.F32, before[k])
		}
	}
	order := make([][]int, len(m.layers)) // units by activity
	activity := make([][]float32, len(m.layers))
	for i, l := range m.layers {
		activity[i] = slices.Clone(l.activity.F32)
		for u := range l.units.N {
			order[i] = append(order[i], u)
		}
		slices.SortStableFunc(order[i], func(u, v int) int { return cmp.Compare(activity[i][u], activity[i][v]) })
	}
	idle := make([]int, len(m.layers)) // how many are not above the threshold
	for i := range m.layers {
		may := float64(m.cfg.Margin*float64(i+1)) / float64(len(m.layers)) * float64(m.batch.N)
		var failed error
		// The least number of units that is too many.
		idle[i] = sort.Search(len(order[i]), func(n int) bool {
			restore()
			for j, l := range m.layers[:i] {
				l.cut(order[j][:idle[j]])
			}
			m.layers[i].cut(order[i][:n+1])
			correct, err := m.correct()
			failed = errors.Join(failed, err)
			return float64(whole-correct) > may
		})
		if failed != nil {
			return failed
		}
		for a := activity[i]; 0 < idle[i] && idle[i] < len(a) && a[order[i][idle[i]]] == a[order[i][idle[i]-1]]; {
			idle[i]-- // as active as one that is above
		}
	}
	restore()
	for i, l := range m.layers {
		for k, u := range order[i] {
			l.active[u] = 0
			if k >= idle[i] {
				l.active[u] = 1
				if l.allocated[u] == 0 {
					l.allocated[u] = int32(task) + 1
				}
			}
		}
	}
	return nil
}

// cut sets to 0 what leads out of units, but for those of earlier tasks, which
// stay connected in any case.
func (l *clnpLayer) cut(units []int) {
	for _, u := range units {
		if l.allocated[u] == 0 {
			for _, s := range l.units.Out {
				eachRun(s, u, func(from, to int) { clear(s.Param.Var.F32[from:to]) })
			}
		}
	}
}

// correct returns how many of the examples are classified as they should be.
func (m *clnp) correct() (int, error) {
	if _, err := m.gradients.On(m.batch); err != nil {
		return 0, err
	}
	n, out := 0, m.gradients.Output()
	for i, label := range m.batch.Labels {
		if kernel.ArgMax(out[i*m.info.Outputs:(i+1)*m.info.Outputs]) == int(label) {
			n++
		}
	}
	return n, nil
}

// freeze marks what keeps its value during a task: what leads into allocated
// units, and all heads but the task's own, which is frozen as well if it has been
// trained.
func (m *clnp) freeze(task int) {
	if !m.cfg.Freeze {
		return
	}
	ofUnits := map[*nn.Param]bool{}
	for _, l := range m.layers {
		for _, s := range slices.Concat(l.units.In, l.units.Bias, l.units.Gain) {
			ofUnits[s.Param] = true
			for u, task := range l.allocated {
				if task > 0 {
					eachRun(s, u, func(from, to int) { fill(m.frozen[s.Param].F32[from:to], 1) })
				}
			}
		}
	}
	first, n := m.info.HeadOf(task)
	for _, p := range m.params {
		f := m.frozen[p].F32
		switch {
		case ofUnits[p]:
		case p.Layer == "output":
			for i := range f { // [inputs][outputs] or [outputs]
				o := i % m.info.Outputs
				f[i] = 1
				if first <= o && o < first+n && m.trained[o] == 0 {
					f[i] = 0
				}
			}
		case task > 0:
			fill(f, 1)
		}
	}
}

// eachRun calls f with the runs of elements [from, to) that a unit has.
func eachRun(s nn.Slice, unit int, f func(from, to int)) {
	offset, length, stride, count := s.Span(unit)
	for c := range count {
		f(offset+c*stride, offset+c*stride+length)
	}
}

func fill(x []float32, value float32) {
	for i := range x {
		x[i] = value
	}
}

var (
	_ method.GradientUpdater = (*clnp)(nil)
	_ method.WeightUpdater   = (*clnp)(nil)
	_ method.SecondGradient  = (*clnp)(nil)
	_ method.Objective       = (*clnp)(nil)
	_ method.AfterStep       = (*clnp)(nil)
	_ method.TaskBoundary    = (*clnp)(nil)
)
