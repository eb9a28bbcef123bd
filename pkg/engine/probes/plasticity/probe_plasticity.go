package plasticity

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "probe-plasticity",
			Paper:   "Lyle et al. 2023, Understanding Plasticity in Neural Networks (plasticity of a network)",
			Summary: "how well the network can be trained on new random targets in a fixed number of steps, on a copy",
			Needs:   []component.Capability{component.Gradients, component.Stream},
		},
		Metrics: []probe.Metric{
			{
				Metric: "probe_plasticity", Title: "Plasticity on random targets",
				Unit: "fall of the loss", Better: probe.Higher,
			},
			{Metric: "probe_loss", Title: "Loss on random targets", Range: probe.Positive, Better: probe.Lower},
		},
		Every: "task",
		At:    "end",
	}, probePlasticityConfig{Targets: 2, Steps: 200, Batch: 32, Optimizer: "adam", LR: 1e-3, Samples: 512}, nil, newProbePlasticity)
}

type probePlasticityConfig struct {
	Targets   int     `json:"targets" doc:"random targets that the copies are trained on, one after the other from the same weights"`
	Steps     int     `json:"steps" doc:"steps of a training"`
	Batch     int     `json:"batch" doc:"examples of a step"`
	Optimizer string  `json:"optimizer" doc:"optimiser of the copies, with its defaults but for lr; it starts anew" enum:"sgd|momentum|adam"`
	LR        float64 `json:"lr" doc:"step size of the copies' optimiser"`
	Samples   int     `json:"samples" doc:"examples of the current task whose inputs get random targets, the first ones"`
}

func (c probePlasticityConfig) Validate() error {
	var errs []error
	if c.Targets < 1 || c.Targets > 1000 {
		errs = append(errs, component.Fieldf("targets", "must be between 1 and 1000, is %d", c.Targets))
	}
	if c.Steps < 1 || c.Steps > 1<<24 {
		errs = append(errs, component.Fieldf("steps", "must be between 1 and %d, is %d", 1<<24, c.Steps))
	}
	if c.Batch < 1 || c.Batch > 1<<16 {
		errs = append(errs, component.Fieldf("batch", "must be between 1 and %d, is %d", 1<<16, c.Batch))
	}
	switch c.Optimizer {
	case "sgd", "momentum", "adam":
	default:
		errs = append(errs, component.Fieldf("optimizer", "must be sgd, momentum or adam, is %q", c.Optimizer))
	}
	if !(c.LR > 0 && c.LR <= 1e3) {
		errs = append(errs, component.Fieldf("lr", "must be above 0 and at most 1000, is %v", c.LR))
	}
	return errors.Join(append(errs, measure.CheckSamples(c.Samples))...)
}

// probePlasticity emits, of the weights θ that the learner has,
//
//	probe_loss        E_y ℓ(θ_k(y), y)     with θ_k(y) = θ after k steps on targets y
//	probe_plasticity  E_y ℓ(0, y) − probe_loss
//
// over random targets y of the same inputs: labels of the present task's classes
// at even odds, or standard normal numbers. ℓ is the mean over all examples of
// the loss without penalties. The baseline ℓ(0, y) is that of the network with
// all parameters 0, which gives all examples the same answer (ln C for
// cross-entropy over C classes): a network without any plasticity has 0 or less.
// The paper has regression on functions of randomly initialised networks for
// targets. Targets and the order of examples are the same at every measurement.
//
// The copies are the learner's own variables, which are put back bit for bit.
// Dropout is off, normalisations of batches keep their statistics, and methods
// have no part in it.
type probePlasticity struct {
	cfg       probePlasticityConfig
	columns   []probe.Column
	env       probe.Env
	train     *graph.Program
	losses    *graph.Program // of all examples
	states    *optim.States
	kept      [][]float32 // θ
	batch     *stream.Batch
	all       stream.Batch // the examples with their targets
	order     []int32
	targets   rng.Key
	epochs    rng.Key
	optimizer optim.Optimizer
}

func newProbePlasticity(c probePlasticityConfig, env probe.Env) (probe.Probe, error) {
	r, err := optim.Resolve("optimizer", map[string]any{"kind": c.Optimizer, "lr": c.LR})
	if err != nil {
		return nil, err
	}
	p := &probePlasticity{
		cfg: c, env: env, columns: []probe.Column{{Metric: "probe_plasticity"}, {Metric: "probe_loss"}},
		targets: env.Key("targets"), epochs: env.Key("order"),
	}
	p.optimizer, err = r.Build(optim.Env{})
	return p, err
}

// Columns implements [probe.Probe].
func (p *probePlasticity) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *probePlasticity) Samples() int { return p.cfg.Samples }

func (p *probePlasticity) params() []*nn.Param { return p.env.Network.Params() }

func (p *probePlasticity) trace(n int) {
	b := graph.NewBuilder()
	_, losses := p.env.Forward(b, p.cfg.Batch)
	var trained []*nn.Param
	var theta []graph.Node
	for _, w := range p.params() {
		p.kept = append(p.kept, make([]float32, w.Var.Len()))
		if !w.Frozen {
			trained = append(trained, w)
			theta = append(theta, b.Read(w.Var))
		}
	}
	// The optimiser's states are in a store of their own: nothing of a measurement
	// is part of the life.
	tracer := optim.NewTracer(graph.NewStore(), graph.OfProbe, p.env.Key)
	tracer.Descend(b, p.optimizer, trained, b.Gradients(b.Mean(losses), theta...), optim.Edits{})
	p.train, p.states = b.Compile(), tracer.States
	p.batch = stream.NewBatch(p.env.Info, p.cfg.Batch)

	b = graph.NewBuilder()
	p.env.Forward(b, n)
	p.losses = b.Compile()
	p.all = *stream.NewBatch(p.env.Info, n)
	p.order = make([]int32, n)
}

// Measure implements [probe.Measurer].
func (p *probePlasticity) Measure(e *learner.Evaluation, values []float32) error {
	if p.train == nil {
		p.trace(e.N)
	}
	p.all.Task = e.Batch.Task
	copy(p.all.X, e.Batch.X)
	for i, w := range p.params() {
		copy(p.kept[i], w.Var.F32)
	}
	var baseline, trained float64
	for y := range p.cfg.Targets {
		p.draw(y)
		for _, w := range p.params() {
			clear(w.Var.F32)
		}
		baseline += p.loss()
		p.restore()
		p.fit(y)
		trained += p.loss()
		p.restore()
	}
	n := float64(p.cfg.Targets)
	values[0], values[1] = float32((baseline-trained)/n), float32(trained/n)
	return nil
}

func (p *probePlasticity) restore() {
	for i, w := range p.params() {
		copy(w.Var.F32, p.kept[i])
	}
}

// draw fills in the targets number y.
func (p *probePlasticity) draw(y int) {
	if p.all.Labels == nil {
		p.targets.FillNormal(p.all.Targets, uint64(y))
		return
	}
	first, n := p.env.Info.HeadOf(p.all.Task)
	for i := range p.all.Labels {
		p.all.Labels[i] = int32(first + p.targets.Intn(n, uint64(y), uint64(i)))
	}
}

func (p *probePlasticity) loss() float64 {
	p.env.Fill(p.losses, &p.all)
	p.losses.Run(0)
	var sum float64
	losses := p.losses.Output("losses")
	for _, l := range losses {
		sum += float64(l)
	}
	return sum / float64(len(losses))
}

// fit trains the network on the targets, pass after pass, every pass in a new
// order.
func (p *probePlasticity) fit(y int) {
	p.states.Restart(true)
	b, n := p.batch, len(p.order)
	b.Task = p.all.Task
	inputs, outputs := len(p.all.X)/n, len(p.all.Targets)/n
	for step := range p.cfg.Steps {
		for i := range b.N {
			at := step*b.N + i
			if at%n == 0 {
				p.epochs.Perm(p.order, uint64(y)<<32|uint64(at/n))
			}
			from := int(p.order[at%n])
			copy(b.X[i*inputs:(i+1)*inputs], p.all.X[from*inputs:])
			if b.Labels != nil {
				b.Labels[i] = p.all.Labels[from]
			} else {
				copy(b.Targets[i*outputs:(i+1)*outputs], p.all.Targets[from*outputs:])
			}
		}
		p.env.Fill(p.train, b)
		p.train.Run(uint64(step))
	}
}
