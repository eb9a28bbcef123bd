package architecture

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "clr",
		Paper:   "Ge et al. 2023, CLR: Channel-wise Lightweight Reprogramming for Continual Learning",
		Summary: "every task has a small linear filter of its own behind each convolution of a network that stays as it is",
		Needs:   []component.Capability{component.Images, component.Gradients, component.Classification},
		Trial: component.Trial{
			Inert:   []component.Object{{"anchor": "trained", "convolutions": 0.0}},
			Lively:  component.Object{"anchor": "first-task"},
			Network: component.Object{"kind": "cnn", "hidden": []any{6.0}, "convolutions": []any{component.Object{"channels": 3.0, "kernel": 5.0, "stride": 2.0, "pool": 2.0}}},
		},
	}, clrConfig{Tasks: 10, Kernel: 3, Convolutions: 64, Anchor: anchorPretrained}, nil, newCLR)
}

// What becomes of the anchor, the network without heads and kernels.
const (
	anchorPretrained = "pretrained"
	anchorFirstTask  = "first-task"
	anchorTrained    = "trained"
)

type clrConfig struct {
	Tasks        int    `json:"tasks" doc:"how many tasks have kernels; at least as many as the stream has"`
	Kernel       int    `json:"kernel" doc:"rows and columns of a kernel; odd"`
	Convolutions int    `json:"convolutions" doc:"how many convolutions have kernels, those nearest to the output; 0 trains heads only"`
	Anchor       string `json:"anchor" doc:"the layers before the output: pretrained: they never learn (give the network weights to start from); first-task: they learn the first task, without kernels, and are frozen then; trained: nothing is ever frozen, heads and kernels of other tasks neither" enum:"pretrained|first-task|trained"`
}

func (c clrConfig) Validate() error {
	switch {
	case c.Tasks < 1 || c.Tasks > 1<<16:
		return component.Fieldf("tasks", "must be between 1 and %d, is %d", 1<<16, c.Tasks)
	case c.Kernel < 1 || c.Kernel > 15 || c.Kernel%2 == 0:
		return component.Fieldf("kernel", "must be odd and between 1 and 15, is %d", c.Kernel)
	case c.Convolutions < 0:
		return component.Fieldf("convolutions", "must not be negative, is %d", c.Convolutions)
	}
	return nil
}

// Build implements [method.Builder].
func (c clrConfig) Build(bp *nn.Blueprint) error {
	left := c.Convolutions
	for i := len(bp.Layers) - 1; i >= 0; i-- {
		l := &bp.Layers[i]
		l.Frozen = l.Frozen || c.Anchor == anchorPretrained && i < len(bp.Layers)-1
		if l.Conv != nil && left > 0 {
			left--
			l.Linear = append(l.Linear, &reprogramming{size: c.Kernel, tasks: c.Tasks})
		}
	}
	if left == c.Convolutions && left > 0 {
		return component.Fieldf("", "the network has no convolutions to put kernels behind; a cnn has")
	}
	return nil
}

// clr puts behind the convolution of layer l, before what follows it, a depthwise
// convolution with a kernel per task t and channel c (section 3.2 of the paper)
//
//	x'_c = (δ + Δ_{l,t,c}) ∗ x_c,   Δ = 0 at the start
//
// δ being 1 in the middle and 0 elsewhere, stride 1, padding such that the size
// stays. Of a task only its Δ and its head are trained. What other tasks give
// keeps every bit: their kernels, their heads and the anchor are held by
// selection, whatever the optimiser remembers. It starts each task from its
// initial state. Where tasks share all outputs the output layer goes on learning,
// and the tasks before do change. The reference code also trains the scales and
// shifts of batch normalisation, one set per task; here those are the anchor's.
type clr struct {
	cfg    clrConfig
	info   stream.Info
	states *optim.States
	params []*nn.Param
	open   map[*nn.Param]*graph.Var // 1 for what learns now; its shape broadcasts to the parameter's
	kernel map[*nn.Param]bool       // of the reprogramming behind convolutions
}

func newCLR(c clrConfig, env method.Env) (method.Method, error) {
	if env.Info.Tasks > c.Tasks && c.Convolutions > 0 {
		return nil, component.Fieldf("tasks", "there are kernels for %d tasks, the stream has %d", c.Tasks, env.Info.Tasks)
	}
	m := &clr{cfg: c, info: env.Info, states: env.States, params: env.Network.Params(), open: map[*nn.Param]*graph.Var{}, kernel: map[*nn.Param]bool{}}
	for _, a := range nn.Adapters(env.Network) {
		if r, ok := a.(*reprogramming); ok {
			m.kernel[r.change] = true
		}
	}
	for _, p := range m.params {
		var shape []int
		switch {
		case m.kernel[p]:
			shape = []int{p.Var.Shape[0], 1}
		case p.Layer == "output":
			shape = []int{env.Outputs}
		}
		m.open[p] = env.State("open/"+p.Var.Name, graph.F32, shape...)
	}
	m.enter(0)
	return m, nil
}

// UpdateWeight implements [method.WeightUpdater].
func (m *clr) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.Anchor == anchorTrained {
		return w
	}
	return u.B.Select(u.B.Read(m.open[u.Param]), w, u.W)
}

// TaskBoundary implements [method.TaskBoundary].
func (m *clr) TaskBoundary(s *learner.Step) error {
	if m.cfg.Anchor != anchorTrained {
		m.enter(s.Task + 1)
		m.states.Restart(true)
	}
	return nil
}

// enter opens what learns a task.
func (m *clr) enter(task int) {
	learnsAnchor := m.cfg.Anchor == anchorFirstTask && task == 0
	first, n := m.info.HeadOf(task)
	for _, p := range m.params {
		open := m.open[p].F32
		clear(open)
		switch {
		case m.kernel[p]:
			if task < m.cfg.Tasks && !learnsAnchor {
				open[task] = 1
			}
		case p.Layer == "output":
			fill(open[first:first+n], 1)
		case learnsAnchor:
			open[0] = 1
		}
	}
}

// reprogramming is the [nn.Adapter] behind one convolution.
type reprogramming struct {
	size, tasks int
	shape       []int // [height][width][channels]
	change      *nn.Param
}

// Make implements [nn.Adapter].
func (r *reprogramming) Make(m *nn.AdapterMaker) error {
	r.shape = m.Shape
	area := r.size * r.size
	r.change = m.Param("reprogramming", area, nn.Distribution{}, r.tasks, area*m.Shape[2])
	return nil
}

// Apply implements [nn.Adapter].
func (r *reprogramming) Apply(b *graph.Builder, x graph.Node, _ nn.Mode) graph.Node {
	area, channels := r.size*r.size, r.shape[2]
	middle := make([]float32, area*channels)
	fill(middle[area/2*channels:(area/2+1)*channels], 1)
	change := b.MatMul(b.OneHot(nn.Task(b), r.tasks), b.Read(r.change.Var)) // 0 for a task without kernels
	kernel := b.Add(b.Reshape(change, area, channels), b.Array(middle, area, channels))
	return b.Conv2D(x, kernel, graph.SquareWindow(r.size, 1, r.size/2), channels)
}

var (
	_ method.Builder       = clrConfig{}
	_ method.WeightUpdater = (*clr)(nil)
	_ method.TaskBoundary  = (*clr)(nil)
	_ nn.Adapter           = (*reprogramming)(nil)
)
