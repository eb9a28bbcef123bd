package streams

import (
	"math/bits"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

func init() {
	stream.Register(component.Info{
		Name:    "bit-flip-regression",
		Paper:   "Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning (slowly-changing regression)",
		Summary: "regress a fixed random threshold network on bits of which most change between tasks only",
	}, bitFlipConfig{
		Tasks: 100, ExamplesPerTask: 10000, Batch: 1,
		Bits: 20, SlowBits: 15, Flip: "one", TargetUnits: 100, Beta: 0.7, Threshold: "reference-code",
	}, nil, newBitFlip)
}

type bitFlipConfig struct {
	Tasks           int     `json:"tasks" doc:"number of tasks; the slow bits change between them"`
	ExamplesPerTask int     `json:"examples_per_task" doc:"examples of each task"`
	Batch           int     `json:"batch" doc:"examples of a step"`
	Bits            int     `json:"bits" doc:"input bits m, a constant one not counted"`
	SlowBits        int     `json:"slow_bits" doc:"input bits f that change between tasks only; the others are random in every example"`
	Flip            string  `json:"flip" doc:"what changes between tasks: one slow bit at random, or every slow bit drawn anew" enum:"one|all"`
	TargetUnits     int     `json:"target_units" doc:"hidden units of the target network"`
	Beta            float64 `json:"beta" doc:"threshold of the target's units, as a fraction of their inputs"`
	Threshold       string  `json:"threshold" doc:"how a unit's bias b enters its threshold: reference-code counts it as b/2 among the negative weights, paper as one more weight; the published curves come from the reference code" enum:"reference-code|paper"`
}

func (c bitFlipConfig) Validate() error {
	if _, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch); err != nil {
		return err
	}
	switch {
	case c.Bits < 1 || c.Bits > 64:
		return component.Fieldf("bits", "must be between 1 and 64, is %d", c.Bits)
	case c.SlowBits < 1 || c.SlowBits > c.Bits:
		return component.Fieldf("slow_bits", "must be between 1 and the %d bits, is %d", c.Bits, c.SlowBits)
	case c.TargetUnits < 1 || c.TargetUnits > 1<<16:
		return component.Fieldf("target_units", "must be between 1 and %d, is %d", 1<<16, c.TargetUnits)
	case !(c.Beta >= 0 && c.Beta <= 1):
		return component.Fieldf("beta", "must be in [0, 1], is %v", c.Beta)
	}
	return nil
}

// Info implements [stream.Config].
func (c bitFlipConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.ExamplesPerTask, c.Batch)
	return stream.Info{
		Input: tensor.Shape{c.Bits}, Outputs: 1,
		Tasks: c.Tasks, StepsPerTask: steps, Batch: c.Batch,
	}, err
}

// bitFlip draws inputs x ∈ {0,1}^m and the target of a fixed network of linear
// threshold units:
//
//	y = c + Σ_j v_j·[w_j·x + b_j > θ_j],  w, b, v, c ∈ {−1,+1},  θ_j = (m+1)·β − S_j
//
// where S_j is the number of negative weights of unit j, plus b_j/2 in the
// reference code, or plus 1 for a negative b_j as in the paper.
type bitFlip struct {
	cfg   bitFlipConfig
	start rng.Key // slow bits of task 0
	flips rng.Key // what changes at each task
	fast  rng.Key // random bits of each example

	units []thresholdUnit
	bias  float32
	task  int
	slow  uint64

	// targets are those with the slow bits as they are, by the random bits, as far
	// as they are known, which known says; both are empty where the random bits are
	// too many.
	targets []float32
	known   []bool
}

// tableBits is the most random bits that a table of targets is kept for.
const tableBits = 10

type thresholdUnit struct {
	positive uint64 // bits whose weight is +1
	bias     float64
	theta    float64
	out      float32
}

func newBitFlip(c bitFlipConfig, env stream.Env) (stream.Stream, error) {
	s := &bitFlip{cfg: c, start: env.Key("slow-bits"), flips: env.Key("flips"), fast: env.Key("fast-bits")}
	s.slow = s.start.Uint64(0, 0) & mask(c.SlowBits)
	if fast := c.Bits - c.SlowBits; fast <= tableBits {
		s.targets, s.known = make([]float32, 1<<fast), make([]bool, 1<<fast)
	}
	target := env.Key("target")
	sign := func(bit uint64) float64 { return float64(2*int(bit&1) - 1) }
	s.bias = float32(sign(target.Uint64(0, 2)))
	for j := range c.TargetUnits {
		more := target.Uint64(uint64(j), 1)
		u := thresholdUnit{
			positive: target.Uint64(uint64(j), 0) & mask(c.Bits),
			bias:     sign(more),
			out:      float32(sign(more >> 1)),
		}
		negative := float64(c.Bits - bits.OnesCount64(u.positive))
		switch {
		case c.Threshold == "reference-code":
			negative += float64(u.bias / 2) // exact, and never fused
		case u.bias < 0:
			negative++
		}
		u.theta = float64(float64(c.Bits+1)*c.Beta) - negative
		s.units = append(s.units, u)
	}
	return s, nil
}

func mask(n int) uint64 { return ^uint64(0) >> (64 - n) }

// Enter implements [stream.Stream]. With flips of one bit the slow bits of a
// task follow from all changes before it.
func (s *bitFlip) Enter(task int) error {
	before := s.slow
	s.change(task)
	if s.slow != before {
		clear(s.known)
	}
	return nil
}

// change sets the slow bits to those of a task.
func (s *bitFlip) change(task int) {
	if s.cfg.Flip == "all" {
		s.task, s.slow = task, s.start.Uint64(uint64(task), 0)&mask(s.cfg.SlowBits)
		return
	}
	if task < s.task {
		s.task, s.slow = 0, s.start.Uint64(0, 0)&mask(s.cfg.SlowBits)
	}
	for s.task < task {
		s.task++
		s.slow ^= 1 << s.flips.Intn(s.cfg.SlowBits, uint64(s.task), 0)
	}
}

// Batch implements [stream.Stream].
func (s *bitFlip) Batch(step int64, b *stream.Batch) {
	for i := range b.N {
		s.example(step*int64(b.N)+int64(i), i, b)
	}
}

// Sample implements [stream.Stream].
func (s *bitFlip) Sample(b *stream.Batch) {
	for i := range b.N {
		s.example(int64(i%s.cfg.ExamplesPerTask), i, b)
	}
}

// example writes an example of the task as example i of a batch.
func (s *bitFlip) example(number int64, i int, b *stream.Batch) {
	random := s.fast.Uint64(uint64(int64(s.task)*int64(s.cfg.ExamplesPerTask)+number), 0)
	m := s.cfg.Bits
	x := s.slow | random&mask(m)&^mask(s.cfg.SlowBits)
	row := b.X[i*m : (i+1)*m]
	for k := range row {
		row[k] = float32(x >> k & 1)
	}
	if len(s.known) == 0 {
		b.Targets[i] = s.target(x)
		return
	}
	fast := x >> s.cfg.SlowBits
	if !s.known[fast] {
		s.targets[fast], s.known[fast] = s.target(x), true
	}
	b.Targets[i] = s.targets[fast]
}

// target returns y for an input.
func (s *bitFlip) target(x uint64) float32 {
	y := s.bias
	for j := range s.units {
		u := &s.units[j]
		// Σ w·x = (ones under +1 weights) − (ones under −1 weights)
		z := float64(2*bits.OnesCount64(x&u.positive)-bits.OnesCount64(x)) + u.bias
		if z > u.theta {
			y += u.out
		}
	}
	return y
}
