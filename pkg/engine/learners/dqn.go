package learners

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	learner.Register(component.Info{
		Name:    "dqn",
		Paper:   "Mnih et al. 2015, Human-level control through deep reinforcement learning; double: van Hasselt, Guez & Silver 2016",
		Summary: "deep Q-learning from replayed transitions, with a target network",
		Needs:   []component.Capability{component.Core, component.Environment},
		Trial: component.Trial{Learner: component.Object{
			"memory": 16.0, "batch": 2.0, "warm_up": 4.0, "target_period": 3.0, "epsilon_steps": 10.0, "replay_ratio": 1.0,
		}},
	}, dqnConfig{
		Gamma: 0.99, Memory: 10000, Batch: 32, WarmUp: 500, ReplayRatio: 0.25, TargetPeriod: 100,
		EpsilonStart: 1, EpsilonEnd: 0.05, EpsilonSteps: 5000, HuberDelta: 1,
	}, nil, newDQN)
}

type dqnConfig struct {
	Gamma        float64 `json:"gamma" doc:"discount of later rewards"`
	Memory       int     `json:"memory" doc:"transitions that are kept, the latest ones"`
	Batch        int     `json:"batch" doc:"transitions of an update"`
	WarmUp       int     `json:"warm_up" doc:"actions before the first update"`
	ReplayRatio  float64 `json:"replay_ratio" doc:"updates for each action; 0.25 is one after every fourth"`
	TargetPeriod int64   `json:"target_period" doc:"updates from one copy of the network into the target network to the next"`
	EpsilonStart float64 `json:"epsilon_start" doc:"probability of a random action at the start"`
	EpsilonEnd   float64 `json:"epsilon_end" doc:"probability of a random action in the end"`
	EpsilonSteps int64   `json:"epsilon_steps" doc:"actions in which the probability falls from start to end, linearly"`
	HuberDelta   float64 `json:"huber_delta" doc:"errors beyond it count linearly"`
	Double       bool    `json:"double" doc:"the network chooses the next action and the target network values it"`
}

func (c dqnConfig) Validate() error {
	var errs []error
	unit := func(name string, v float64) {
		if !(v >= 0 && v <= 1) {
			errs = append(errs, component.Fieldf(name, "must be between 0 and 1, is %v", v))
		}
	}
	between := func(name string, v, lo, hi int64) {
		if v < lo || v > hi {
			errs = append(errs, component.Fieldf(name, "must be between %d and %d, is %d", lo, hi, v))
		}
	}
	unit("gamma", c.Gamma)
	unit("epsilon_start", c.EpsilonStart)
	unit("epsilon_end", c.EpsilonEnd)
	between("batch", int64(c.Batch), 1, 1<<16)
	between("memory", int64(c.Memory), int64(max(c.Batch, 1)), 1<<24)
	between("warm_up", int64(c.WarmUp), 0, 1<<40)
	between("target_period", c.TargetPeriod, 1, 1<<40)
	between("epsilon_steps", c.EpsilonSteps, 1, 1<<40)
	if !(c.ReplayRatio >= 0 && c.ReplayRatio <= 64) {
		errs = append(errs, component.Fieldf("replay_ratio", "must be between 0 and 64, is %v", c.ReplayRatio))
	}
	if !(c.HuberDelta > 0 && c.HuberDelta < 1e30) {
		errs = append(errs, component.Fieldf("huber_delta", "must be above 0, is %v", c.HuberDelta))
	}
	return errors.Join(errs...)
}

// dqn acts ε-greedily by Q(s, ·) = network(s) and, replay_ratio times per
// action, takes a batch of transitions (s, a, r, s′) from the memory to lower
//
//	Huber(Q(s, a) − y),   y = r + γ·max_a′ Q⁻(s′, a′)   (y = r behind a last state)
//
// where Q⁻ is the target network. Its Step is one action; methods see the
// updates, which count by themselves. All but its Step is its core's.
type dqn struct {
	learner.Core
	cfg                   dqnConfig
	world                 environment.Environment
	target                learner.Shadow
	explore, draws        rng.Key
	observations, actions int

	x, next  []float32 // [memory][observations]
	action   []int32   // [memory]
	reward   []float32 // [memory]
	terminal []uint8   // [memory]: nothing follows
	counts   []float64 // transitions so far, episodes, updates, updates that are due
	loss     []float32 // of the last update

	see   *stream.Batch // what the agent sees
	batch *stream.Batch
	after *stream.Batch // what follows the batch
	slots []int         // where in the memory the batch is from
	chose []float32     // input of the training program: one-hot actions
	aim   []float32     // and y
	step  learner.Step
}

// Indices of counts.
const (
	seen = iota
	episodes
	updates
	due
)

func newDQN(c dqnConfig, env learner.Env) (learner.Learner, error) {
	l := &dqn{
		cfg: c, world: env.Environment, explore: env.Key("explore"), draws: env.Key("replay"),
		observations: env.Info.Input.Elems(), actions: env.Info.Outputs,
	}
	if n := int64(l.observations) * int64(c.Memory); n > 1<<28 {
		return nil, component.Fieldf("memory", "%d observations of %d numbers are more than %d in all", c.Memory, l.observations, 1<<28)
	}
	core, err := env.Core(learner.Objective{Batch: c.Batch, Losses: func(b *graph.Builder, q graph.Node, n int) graph.Node {
		of := b.SumRows(b.Mul(q, b.Input("action", n, l.actions)))
		return b.Huber(b.Reshape(of, n, 1), b.Reshape(b.Input("aim", n), n, 1), float32(c.HuberDelta))
	}})
	if err != nil {
		return nil, err
	}
	l.Core = core
	l.target = core.Shadow("target", c.Batch)
	l.chose, l.aim = core.Input("action"), core.Input("aim")
	l.x = env.State("observations", graph.F32, c.Memory, l.observations).F32
	l.next = env.State("next", graph.F32, c.Memory, l.observations).F32
	l.action = env.State("actions", graph.I32, c.Memory).I32
	l.reward = env.State("rewards", graph.F32, c.Memory).F32
	l.terminal = env.State("terminal", graph.U8, c.Memory).U8
	l.counts = env.State("counts", graph.F64, 4).F64
	l.loss = env.State("loss", graph.F32, 1).F32
	l.slots = make([]int, c.Batch)
	l.see, l.batch, l.after = stream.NewBatch(env.Info, 1), stream.NewBatch(env.Info, c.Batch), stream.NewBatch(env.Info, c.Batch)
	return l, nil
}

// Step implements [learner.Learner].
func (l *dqn) Step(s *learner.Step) error {
	if l.counts[seen] == 0 {
		l.world.Reset(0)
	}
	slot := int(l.counts[seen]) % l.cfg.Memory
	from := l.x[slot*l.observations : (slot+1)*l.observations]
	l.world.Observe(from)
	action, err := l.act(s, from)
	if err != nil {
		return err
	}
	o := l.world.Act(action)
	l.world.Observe(l.next[slot*l.observations : (slot+1)*l.observations])
	l.action[slot], l.reward[slot], l.terminal[slot] = int32(action), o.Reward, 0
	if o.Terminal {
		l.terminal[slot] = 1
	}
	l.counts[seen]++
	s.Reward, s.EpisodeEnd = o.Reward, o.Terminal || o.Truncated
	if s.EpisodeEnd {
		l.counts[episodes]++
		l.world.Reset(uint64(l.counts[episodes]))
	}
	if l.counts[seen] >= float64(max(l.cfg.WarmUp, l.cfg.Batch)) {
		for l.counts[due] += l.cfg.ReplayRatio; l.counts[due] >= 1; l.counts[due]-- {
			if err := l.learn(s); err != nil {
				return fmt.Errorf("update %d, after action %d: %w", int64(l.counts[updates]), s.Index, err)
			}
		}
	}
	s.Loss = l.loss[0]
	return nil
}

// act chooses an action: greedy, and random with probability ε.
func (l *dqn) act(s *learner.Step, observation []float32) (int, error) {
	c := l.cfg
	part := min(float64(s.Index)/float64(c.EpsilonSteps), 1)
	epsilon := c.EpsilonStart + float64((c.EpsilonEnd-c.EpsilonStart)*part)
	if float64(l.explore.Float32(uint64(s.Index), 0)) < epsilon {
		return l.explore.Intn(l.actions, uint64(s.Index), 1), nil
	}
	copy(l.see.X, observation)
	l.see.Task = s.Task
	e, err := l.Core.Evaluate(l.see)
	if err != nil {
		return 0, err
	}
	return argmax(e.Output), nil
}

// learn makes one update.
func (l *dqn) learn(s *learner.Step) error {
	update, held, n := int64(l.counts[updates]), min(int(l.counts[seen]), l.cfg.Memory), l.observations
	if update%l.cfg.TargetPeriod == 0 {
		l.target.Sync()
	}
	clear(l.chose)
	l.batch.Task, l.after.Task = s.Task, s.Task
	for i := range l.slots {
		from := l.draws.Intn(held, uint64(update), uint64(i))
		l.slots[i] = from
		copy(l.batch.X[i*n:(i+1)*n], l.x[from*n:])
		copy(l.after.X[i*n:(i+1)*n], l.next[from*n:])
		l.chose[i*l.actions+int(l.action[from])] = 1
		l.aim[i] = l.reward[from]
	}
	values := l.target.Output(l.after.X)
	best := values
	if l.cfg.Double {
		e, err := l.Core.Evaluate(l.after)
		if err != nil {
			return err
		}
		best = e.Output
	}
	for i, from := range l.slots {
		if l.terminal[from] == 0 {
			row := i * l.actions
			l.aim[i] += float32(float32(l.cfg.Gamma) * values[row+argmax(best[row:row+l.actions])])
		}
	}
	l.step = learner.Step{Index: update, Task: s.Task, TaskStep: s.TaskStep, Batch: l.batch}
	if err := l.Core.Step(&l.step); err != nil {
		return err
	}
	l.counts[updates]++
	l.loss[0] = l.step.Loss
	return nil
}

// Sample implements [learner.Sampler]: the latest observations, and the same
// again where there are fewer.
func (l *dqn) Sample(b *stream.Batch) {
	held := min(int(l.counts[seen]), l.cfg.Memory)
	if held == 0 {
		return
	}
	for i := range b.N {
		slot := (int(l.counts[seen]) - 1 - i%held) % l.cfg.Memory
		copy(b.X[i*l.observations:(i+1)*l.observations], l.x[slot*l.observations:])
	}
}

// argmax returns the first of the largest numbers.
func argmax(v []float32) int {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return best
}

var _ learner.Sampler = (*dqn)(nil)
