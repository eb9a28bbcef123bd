package architecture

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/contrast"
	"neoteny/pkg/engine/methods/internal/links"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/methods/internal/recycle"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
)

func init() {
	method.Register(component.Info{
		Name:    "sharp",
		Paper:   "Gurbuz, Moorman & Dovrolis 2023, SHARP: Sparsity and Hidden Activation RePlay for Neuro-Inspired Continual Learning",
		Summary: "units that a task selects are cut off from all others and frozen later; the last task's hidden activations are replayed; nearest neighbours classify",
		Needs:   []component.Capability{component.Units, component.Gradients, component.Classification},
		Trial: component.Trial{
			Inert:   []component.Object{{"sparsity": 0.0, "phases": 0.0, "temperature": 0.0, "neighbors": 0.0}},
			Lively:  component.Object{"phases": 2.0, "stored": 2.0, "replay": 4.0, "neighbors": 1.0},
			Network: component.Object{"kind": "mlp", "hidden": []any{8.0, 6.0}},
			Alone:   true,
		},
	}, sharpConfig{
		Sparsity: 0.6, Phases: 10, Annealing: 30, Least: 0.9, Rewire: true, Freeze: true,
		Stored: 25, Replay: 256, Temperature: 0.1, Neighbors: 5,
	}, nil, newSHARP)
}

type sharpConfig struct {
	Sparsity    float64 `json:"sparsity" doc:"probability that a link of the hidden layers does not exist at the start"`
	Phases      int     `json:"phases" doc:"of a task, each of which starts with a selection of units; 0 selects, rewires and freezes nothing"`
	Annealing   float64 `json:"annealing" doc:"k: in phase t (the first counts as the second) selected units have the share ½(1 + cos(πt/k)) of their layer's activity"`
	Least       float64 `json:"least" doc:"the share is no smaller"`
	Rewire      bool    `json:"rewire" doc:"links from units that are not selected to those that are get dropped, and as many grow at zero elsewhere"`
	Freeze      bool    `json:"freeze" doc:"what leads into units that were selected for earlier tasks is not trained"`
	Stored      int     `json:"stored" doc:"examples of a class that are remembered: their activations for replay, their features for classification"`
	Replay      int     `json:"replay" doc:"m: activations that are replayed each step; 0 for none"`
	Temperature float64 `json:"temperature" doc:"τ of the contrastive loss; 0 leaves the learner's own loss, without replay"`
	Neighbors   int     `json:"neighbors" doc:"k: remembered examples that vote on the class; 0 leaves classification to the output layer"`
}

func (c sharpConfig) Validate() error {
	var sparsity, temperature error
	if !(c.Sparsity >= 0 && c.Sparsity < 1) {
		sparsity = component.Fieldf("sparsity", "must be in [0, 1), is %v", c.Sparsity)
	}
	if !(c.Temperature == 0 || c.Temperature >= 1e-3 && c.Temperature <= 1e3) {
		temperature = component.Fieldf("temperature", "must be 0 or between 0.001 and 1000, is %v", c.Temperature)
	}
	return errors.Join(
		check.Between("phases", c.Phases, 0, 1<<20), check.Between("stored", c.Stored, 1, 1<<16),
		check.Between("replay", c.Replay, 0, 1<<14), check.Between("neighbors", c.Neighbors, 0, 1<<10), sparsity, temperature,
		check.Range("annealing", c.Annealing, 1, 1e9), check.Range("least", c.Least, 0, 1))
}

// Build implements [method.Builder]. It changes nothing, but refuses networks
// whose layers [sharp.tail] does not compute.
func (c sharpConfig) Build(bp *nn.Blueprint) error {
	hidden := len(bp.Layers) - 1
	if hidden < 2 {
		return component.Fieldf("", "needs an mlp with two hidden layers or more: the first's activations are replayed")
	}
	for _, l := range bp.Layers[:hidden] {
		if l.Conv != nil || l.Activation.Name() != "relu" || l.Norm != "" && l.Norm != "none" || l.Dropout > 0 || l.Residual || l.Standardize || l.Frozen ||
			len(l.Linear)+len(l.Adapters) > 0 {
			return component.Fieldf("", "needs dense layers with relu and nothing else; layer %s is another", l.Name)
		}
	}
	return nil
}

// sharp gives every hidden unit an age: 0 for a unit that is free, 1 if the
// running task has selected it, and one more with every end of a task. The steps
// of a task are parted into phases. Each begins so (section 3 of the paper; where
// that is silent, the authors' program):
//
//	select   of every layer the units of the largest mean activity that together
//	         have the share max(½(1+cos(πt/k)), least) of the layer's; those among
//	         them of age 0 or 1 are of age 1 now, the others of age 0
//	drop     all links from units of age 0 to units of another age
//	grow     as many new links into units of age 0 of the same layer, from any
//	         unit, at random among those that are not there, with weight 0
//
// and with the optimiser in its initial state. Units so read nothing younger than
// they are. When the task ends
//
//	age      of selected units grows by 1
//	freeze   what leads into units of the first layer of age ≥ 2 and of the others
//	         of age ≥ 3: from now on their values change by no bit
//	renew    weights into units of age 0 are drawn again, with biases 0
//
// Of each of the task's classes the first examples are remembered: the first
// layer's activations in 8 bits, to be replayed during the next task and
// forgotten then, and the last layer's values. When a class is not replayed any
// longer its values are computed once more from the activations and count at the
// units that are frozen now; until then they count at all that were selected.
// Until a task has ended its classes are unknown to the classification.
//
// The loss is the supervised contrastive one (Khosla et al. 2020, L_out) over the
// stream's n examples and m replayed ones together, of the last layer's values
// without those of units of age 0, z being normalised to length 1:
//
//	−mean_i 1/|P(i)| Σ_{p ∈ P(i)} ln( e^{z_i·z_p/τ} / Σ_{a≠i} e^{z_i·z_a/τ} )
//
// over examples i that have others P(i) of their class. It takes the place of the
// learner's loss, so that the output layer is not trained, and what is measured
// of the training step's output means nothing. Evaluations give votes of the k
// remembered examples that are nearest, lengths of both normalised over the units
// that count for the remembered one.
//
// Unlike there the replayed layer is the first dense one (the authors' are two
// convolutions), activity is that on the phase's first batch (theirs: 1024
// examples), replayed examples are drawn with replacement, and renewed weights
// come from the network's initialiser.
type sharp struct {
	cfg              sharpConfig
	steps            int64 // of a task
	classes          int
	inputs           int
	layers           []*sharpLayer
	states           *optim.States
	draws            rng.Key
	active           *graph.Var        // [features] 1 where age is not 0, of the last layer
	examples         []float32         // [classes][stored][inputs] of the task so far
	held             []int32           // [classes] how many
	stored           *memory.Quantized // activations of the first layer, of the last task's classes
	replayed         *graph.Var        // [m][units of the first layer]
	replayedOf       *graph.Var        // [m][classes], 1 for the class; all 0 without replay
	features         *graph.Var        // [classes·stored][features] with length 1 over what counts
	counts           *graph.Var        // [classes][features] 1 where a feature counts for a class
	known            *graph.Var        // [classes·stored] 1 for rows that are there
	pool             []int             // classes that are replayed
	all, first, last *graph.Program
	networkLayer     []string // names of the outputs of all and first
	mean             []float32
	order            []int
}

// sharpLayer is a hidden layer.
type sharpLayer struct {
	units        *nn.Units
	weight, bias *nn.Param  // bias nil without
	links        *graph.Var // [in][units] 1 where a link is
	frozen       *graph.Var // [in][units]
	frozenBias   *graph.Var // [units]
	age          []int32    // [units]
	grow         rng.Key
	new          *recycle.Recycler
}

func newSHARP(c sharpConfig, env method.Env) (method.Method, error) {
	m := &sharp{
		cfg: c, steps: env.StepsPerTask, classes: env.Classes, inputs: env.Inputs, states: env.States, draws: env.Key("replay"),
		held: env.State("held", graph.I32, env.Classes).I32,
		stored: &memory.Quantized{
			Held: env.State("stored", graph.I32, env.Classes).I32,
			Low:  env.State("low", graph.F32, env.Classes).F32, High: env.State("high", graph.F32, env.Classes).F32,
		},
		examples: env.State("examples", graph.F32, env.Classes, c.Stored, env.Inputs).F32,
	}
	if int64(c.Phases) > env.StepsPerTask {
		return nil, component.Fieldf("phases", "%d of a task of %d steps", c.Phases, env.StepsPerTask)
	}
	if c.Neighbors > env.Classes*c.Stored {
		return nil, component.Fieldf("neighbors", "%d of %d remembered examples", c.Neighbors, env.Classes*c.Stored)
	}
	for _, u := range env.Network.Units() {
		l := &sharpLayer{
			units: u, weight: u.In[0].Param, grow: env.Key("grow/" + u.Layer), new: recycle.New(env, u),
			age: env.State("age/"+u.Layer, graph.I32, u.N).I32,
		}
		l.links = env.State("links/"+u.Layer, graph.F32, l.weight.Var.Shape...)
		l.frozen = env.State("frozen/"+u.Layer, graph.F32, l.weight.Var.Shape...)
		if len(u.Bias) > 0 {
			l.bias, l.frozenBias = u.Bias[0].Param, env.State("frozen_bias/"+u.Layer, graph.F32, u.N)
		}
		env.Key("links/"+u.Layer).FillUniform(l.links.F32, 0, 1, 0)
		for i, x := range l.links.F32 {
			l.links.F32[i] = 0
			if float64(x) >= c.Sparsity {
				l.links.F32[i] = 1
			}
			l.weight.Var.F32[i] *= l.links.F32[i]
		}
		m.networkLayer = append(m.networkLayer, fmt.Sprintf("features/%d", len(m.layers)))
		m.layers = append(m.layers, l)
		m.order = slices.Grow(m.order, u.N)
		m.mean = slices.Grow(m.mean, u.N)
	}
	units, width, rows := m.layers[0].units.N, m.layers[len(m.layers)-1].units.N, env.Classes*c.Stored
	m.active = env.State("active", graph.F32, width)
	if c.Phases == 0 {
		fill(m.active.F32, 1)
	}
	m.stored.Size = units
	m.stored.Values = env.State("activations", graph.U8, env.Classes, c.Stored, units).U8
	m.features = env.State("features", graph.F32, rows, width)
	m.counts = env.State("counts", graph.F32, env.Classes, width)
	m.known = env.State("known", graph.F32, rows)
	if c.Replay > 0 {
		m.replayed = env.Space.New("replayed", graph.F32, graph.Transient, c.Replay, units)
		m.replayedOf = env.Space.New("replayed_of", graph.F32, graph.Transient, c.Replay, env.Classes)
	}
	m.pool = make([]int, 0, env.Classes)
	forward := func(n int) *graph.Program {
		b := graph.NewBuilder()
		net := env.Network.Forward(b, b.Input("x", n, env.Inputs), nn.Evaluation)
		for i, f := range net.Features {
			b.Output(m.networkLayer[i], f)
		}
		return b.Compile()
	}
	m.all, m.first = forward(env.Batch), forward(c.Stored)
	b := graph.NewBuilder()
	b.Output("features", m.tail(b, b.Input("hidden", c.Stored, units)))
	m.last = b.Compile()
	return m, nil
}

// tail traces the last hidden layer's values from the first's.
func (m *sharp) tail(b *graph.Builder, h graph.Node) graph.Node {
	for _, l := range m.layers[1:] {
		h = b.MatMul(h, b.Read(l.weight.Var))
		if l.bias != nil {
			h = b.Add(h, b.Reshape(b.Read(l.bias.Var), 1, l.units.N))
		}
		h = b.ReLU(h)
	}
	return h
}

// Loss implements [method.Losser]. The learner's loss is subtracted, so that the
// gradient of it is exactly 0.
func (m *sharp) Loss(t *method.Trace) graph.Node {
	labels, classification := t.B.Declared("labels")
	if m.cfg.Temperature == 0 || !classification {
		return graph.Node{}
	}
	b, width := t.B, m.active.Len()
	f := b.Reshape(t.Net.Features[len(m.layers)-1], t.X.Shape()[0], width)
	of := b.OneHot(labels, m.classes)
	if m.cfg.Replay > 0 {
		f = b.ConcatAxis(0, f, m.tail(b, b.Read(m.replayed)))
		of = b.ConcatAxis(0, of, b.Read(m.replayedOf))
	}
	f = b.Mul(f, b.Reshape(b.Read(m.active), 1, width))
	return b.Sub(contrast.Loss(b, f, of, m.cfg.Temperature), t.Loss)
}

// UpdateWeight implements [method.WeightUpdater].
func (m *sharp) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	for _, l := range m.layers {
		switch {
		case u.Param == l.weight && (m.cfg.Sparsity > 0 || m.cfg.Phases > 0):
			w = u.B.Mul(w, u.B.Read(l.links))
			if m.cfg.Freeze {
				w = u.B.Select(u.B.Read(l.frozen), u.W, w)
			}
		case l.bias != nil && u.Param == l.bias && m.cfg.Freeze && m.cfg.Phases > 0:
			w = u.B.Select(u.B.Read(l.frozenBias), u.W, w)
		}
	}
	return w
}

// Batch implements [method.Batcher]: it begins phases and draws what is replayed.
func (m *sharp) Batch(s *learner.Step) error {
	if phases := int64(m.cfg.Phases); phases > 0 {
		phase := s.TaskStep * phases / m.steps
		if s.TaskStep == 0 || phase != (s.TaskStep-1)*phases/m.steps {
			copy(m.all.Input("x"), s.Batch.X)
			m.all.Run(0)
			m.begin(s.Index, int(phase))
		}
	}
	if m.cfg.Replay == 0 || m.cfg.Temperature == 0 {
		return nil
	}
	m.pool = m.pool[:0]
	for c, n := range m.stored.Held {
		if n > 0 {
			m.pool = append(m.pool, c)
		}
	}
	clear(m.replayedOf.F32)
	if len(m.pool) == 0 {
		return nil
	}
	units := m.layers[0].units.N
	for r := range m.cfg.Replay {
		c := m.pool[r%len(m.pool)]
		i := m.draws.Intn(int(m.stored.Held[c]), uint64(s.Index), uint64(r))
		m.stored.Recall(m.replayed.F32[r*units:(r+1)*units], c, i)
		m.replayedOf.F32[r*m.classes+c] = 1
	}
	return nil
}

// begin begins a phase, the first being 0, with the activity that is in the
// program's outputs.
func (m *sharp) begin(step int64, phase int) {
	t := max(phase+1, 2)
	share := max((1+linalg.CosPi(float64(t)/m.cfg.Annealing))/2, m.cfg.Least)
	if float64(t) >= m.cfg.Annealing {
		share = m.cfg.Least
	}
	for i, l := range m.layers {
		m.mean = m.mean[:l.units.N]
		clear(m.mean)
		for k, v := range m.all.Output(m.networkLayer[i]) {
			m.mean[k%l.units.N] += v
		}
		m.pick(l.age, share)
	}
	last := m.layers[len(m.layers)-1]
	for u, age := range last.age {
		m.active.F32[u] = float32(min(age, 1))
	}
	if m.cfg.Rewire {
		for i := 1; i < len(m.layers); i++ { // all of the input counts as selected
			l := m.layers[i]
			links.Rewire(l.links.F32, l.weight.Var.F32, m.layers[i-1].age, l.age, l.grow, uint64(step))
		}
	}
	m.states.Restart(true)
}

// pick selects units by their activity.
func (m *sharp) pick(age []int32, share float64) {
	m.order = m.order[:0]
	total := 0.0
	for u, a := range m.mean {
		m.order = append(m.order, u)
		total += float64(a)
		if age[u] == 1 {
			age[u] = 0
		}
	}
	slices.SortStableFunc(m.order, func(u, v int) int { return cmp.Compare(m.mean[v], m.mean[u]) })
	sum := 0.0
	for _, u := range m.order {
		if age[u] == 0 {
			age[u] = 1
		}
		if sum += float64(m.mean[u]); sum >= float64(share*total) {
			break
		}
	}
}

// AfterStep implements [method.AfterStep]. The task ends with its last step, not
// at the boundary, so that measurements at its end know its classes.
func (m *sharp) AfterStep(s *learner.Step) error {
	for r, c := range s.Batch.Labels {
		if i := int(m.held[c]); i < m.cfg.Stored {
			at := (int(c)*m.cfg.Stored + i) * m.inputs
			copy(m.examples[at:at+m.inputs], s.Batch.X[r*m.inputs:])
			m.held[c]++
		}
	}
	if !s.LastStep {
		return nil
	}
	if m.cfg.Phases > 0 {
		m.mature(s.Index)
	}
	for c := range m.classes { // not replayed any longer
		if m.stored.Held[c] > 0 {
			units, in := m.layers[0].units.N, m.last.Input("hidden")
			for r := range m.cfg.Stored {
				m.stored.Recall(in[r*units:(r+1)*units], c, r%int(m.stored.Held[c]))
			}
			m.last.Run(0)
			m.remember(c, int(m.stored.Held[c]), 3, m.last.Output("features"))
			m.stored.Held[c] = 0
		}
	}
	for c := range m.classes {
		if n := int(m.held[c]); n > 0 {
			in := m.first.Input("x")
			for r := range m.cfg.Stored {
				at := (c*m.cfg.Stored + r%n) * m.inputs
				copy(in[r*m.inputs:(r+1)*m.inputs], m.examples[at:])
			}
			m.first.Run(0)
			m.stored.Store(c, n, m.first.Output(m.networkLayer[0]))
			m.remember(c, n, 2, m.first.Output(m.networkLayer[len(m.layers)-1]))
		}
	}
	clear(m.held)
	return nil
}

// mature ends a task for the units.
func (m *sharp) mature(step int64) {
	for i, l := range m.layers {
		freezes := int32(3)
		if i == 0 { // so that stored activations stay what they are
			freezes = 2
		}
		w, n := l.weight.Var.F32, l.units.N
		for u := range l.age {
			if l.age[u] > 0 {
				l.age[u]++
			}
			switch {
			case l.age[u] >= freezes && m.cfg.Freeze:
				for k := u; k < len(w); k += n {
					l.frozen.F32[k] = 1
				}
				if l.bias != nil {
					l.frozenBias.F32[u] = 1
				}
			case l.age[u] == 0:
				l.new.Write(l.units.In[0], u, l.new.Incoming(0, step, u))
				for k := u; k < len(w); k += n {
					w[k] *= l.links.F32[k]
				}
				if l.bias != nil {
					l.new.Write(l.units.Bias[0], u, nil)
				}
			}
		}
	}
}

// remember keeps a class's features for classification; units from the given age
// on count, or all if there are none.
func (m *sharp) remember(class, n int, age int32, f []float32) {
	last := m.layers[len(m.layers)-1]
	width := last.units.N
	counts := m.counts.F32[class*width : (class+1)*width]
	clear(counts)
	for u := range counts {
		if last.age[u] >= age {
			counts[u] = 1
		}
	}
	if !slices.Contains(counts, 1) {
		fill(counts, 1)
	}
	for i := range m.cfg.Stored {
		r := class*m.cfg.Stored + i
		m.known.F32[r] = 0
		if i >= n {
			continue
		}
		m.known.F32[r] = 1
		to, square := m.features.F32[r*width:(r+1)*width], 1e-12
		for u := range to {
			to[u] = f[i*width+u] * counts[u]
			square += float64(float64(to[u]) * float64(to[u]))
		}
		for u := range to {
			to[u] = float32(float64(to[u]) / math.Sqrt(square))
		}
	}
}

// Evaluate implements [method.Evaluator]: votes [n][classes].
func (m *sharp) Evaluate(b *graph.Builder, a nn.Activations) graph.Node {
	if m.cfg.Neighbors == 0 {
		return a.Output
	}
	n, width, rows := a.Output.Shape()[0], m.active.Len(), m.known.Len()
	class := make([]float32, m.classes*rows) // [classes][rows] 1 where a row is of a class
	for r := range rows {
		class[r/m.cfg.Stored*rows+r] = 1
	}
	of := b.Array(class, m.classes, rows)
	f := b.Reshape(a.Features[len(m.layers)-1], n, width)
	length := b.Sqrt(b.Add(b.MatMulNT(b.Square(f), b.Read(m.counts)), b.Const(1e-12))) // [n][classes]
	near := b.Mul(b.MatMulNT(f, b.Read(m.features)), b.MatMul(b.Recip(length), of))    // cosines
	known := b.Reshape(b.Read(m.known), 1, rows)
	near = b.Add(near, b.Scale(4, b.Sub(known, b.Const(1))))
	return b.MatMulNT(b.Mul(b.TopK(near, m.cfg.Neighbors), known), of)
}

var (
	_ method.Builder       = sharpConfig{}
	_ method.Losser        = (*sharp)(nil)
	_ method.WeightUpdater = (*sharp)(nil)
	_ method.Batcher       = (*sharp)(nil)
	_ method.AfterStep     = (*sharp)(nil)
	_ method.Evaluator     = (*sharp)(nil)
)
