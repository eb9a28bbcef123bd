package resets

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/recycle"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "self-normalized-resets",
		Paper:   "Farias & Jozefiak 2025, Self-Normalized Resets for Plasticity in Continual Learning, algorithm 1; thresholds as in their code",
		Summary: "a hidden unit is recycled when it has been silent for longer than its own past makes likely",
		Needs:   []component.Capability{component.Units},
		Trial: component.Trial{
			Inert:  []component.Object{{"initial": 1e6, "most": 1e6}},
			Lively: component.Object{"initial": 4.0, "least": 2.0, "most": 64.0, "tasks": 1.0},
		},
	}, snrConfig{Initial: 1000, Percentile: 0.92, Expansion: 2, Least: 100, Most: 20000, Tasks: 16}, nil, newSNR)
}

type snrConfig struct {
	Initial    int     `json:"initial" doc:"τ at the start: a unit is recycled after so many examples of silence"`
	Percentile float64 `json:"percentile" doc:"1−η: where in the distribution of a unit's silences its threshold comes to be"`
	Expansion  float64 `json:"expansion" doc:"factor by which a threshold grows that the distribution does not lower"`
	Least      int     `json:"least" doc:"thresholds are never below"`
	Most       int     `json:"most" doc:"thresholds are never above; it is the memory per unit, too, divided by the batch"`
	Tasks      int     `json:"tasks" doc:"thresholds are set anew after every so many tasks"`
}

func (c snrConfig) Validate() error {
	var most, least, initial, expansion, tasks error
	if c.Most < 1 || c.Most > 1<<24 {
		most = component.Fieldf("most", "must be between 1 and %d examples, is %d", 1<<24, c.Most)
	}
	if c.Least < 1 || c.Least > c.Most {
		least = component.Fieldf("least", "must be between 1 and most, %d, is %d", c.Most, c.Least)
	}
	if c.Initial < 1 || c.Initial > 1<<30 {
		initial = component.Fieldf("initial", "must be between 1 and %d examples, is %d", 1<<30, c.Initial)
	}
	if !(c.Expansion >= 1 && c.Expansion <= 1e6) {
		expansion = component.Fieldf("expansion", "must be between 1 and 1e6, is %v", c.Expansion)
	}
	if c.Tasks < 1 {
		tasks = component.Fieldf("tasks", "must be at least 1, is %d", c.Tasks)
	}
	return errors.Join(initial, check.Range("percentile", c.Percentile, 0, 1), expansion, least, most, tasks)
}

// snr keeps for every hidden unit i its age a_i, the number of examples for
// which it has been silent, and a histogram H_i of the ages at which silences
// ended. After each step, on batches of B examples, as the forward pass saw
// them:
//
//	h_bi ≤ 0 for all b ⇒ a_i ← a_i + B      else H_i[a_i] += 1, a_i ← 0
//	a_i ≥ τ_i ⇒ H_i[a_i] += 1, a_i ← 0, W_in,i drawn afresh, b_i = 0, W_out,i = 0,
//	            optimiser state of these weights back to its start
//
// and after every so many tasks, on H_i without age 0 and ages above most:
//
//	q_i = the least age by which a fraction 1−η of H_i ended; 1 if there is none
//	τ_i ← q_i if q_i < τ_i, else expansion·τ_i;  then within [least, most]
//	H_i ← 0
//
// This is the published code's rule; the paper only says that τ_i is the
// (1−η)-percentile of the silences. Ages are multiples of B, and so the
// histogram has most/B bins. initial is our choice: the code takes it from
// elsewhere. With batches of one example a unit of sparse activity is silent
// often; raise least there.
type snr struct {
	cfg    snrConfig
	layers []*snrLayer
}

type snrLayer struct {
	units  *nn.Units
	new    *recycle.Recycler
	batch  int
	bins   int       // ages B, 2B, … up to most
	age    []int32   // in examples
	tau    []float64 // in examples
	hist   []int32   // [units][bins]
	active []bool
}

func newSNR(c snrConfig, env method.Env) (method.Method, error) {
	m := &snr{cfg: c}
	for _, u := range env.Network.Units() {
		l := &snrLayer{
			units: u, new: recycle.New(env, u), batch: env.Batch, bins: c.Most / env.Batch,
			age: env.State(u.Layer+"/age", graph.I32, u.N).I32, tau: env.State(u.Layer+"/tau", graph.F64, u.N).F64,
			active: make([]bool, u.N),
		}
		if l.bins > 0 {
			l.hist = env.State(u.Layer+"/silences", graph.I32, u.N, l.bins).I32
		}
		for i := range l.tau {
			l.tau[i] = float64(c.Initial)
		}
		m.layers = append(m.layers, l)
	}
	return m, nil
}

// ResetsUnits implements [method.UnitResetter].
func (m *snr) ResetsUnits() {}

// AfterStep implements [method.AfterStep].
func (m *snr) AfterStep(s *learner.Step) error {
	for k, l := range m.layers {
		l.listen(s.Features[k])
		for i, a := range l.age {
			if float64(a) >= l.tau[i] {
				l.end(i)
				l.new.Recycle(s.Index, i)
			}
		}
	}
	return nil
}

// listen ages silent units and ends the silence of others.
func (l *snrLayer) listen(features []float32) {
	clear(l.active)
	for row := features; len(row) > 0; row = row[l.units.N:] {
		for i, h := range row[:l.units.N] {
			if h > 0 {
				l.active[i] = true
			}
		}
	}
	for i, active := range l.active {
		switch {
		case active:
			l.end(i)
		case int(l.age[i]) <= math.MaxInt32-l.batch:
			l.age[i] += int32(l.batch)
		}
	}
}

// end notes the end of a silence.
func (l *snrLayer) end(unit int) {
	if bin := int(l.age[unit])/l.batch - 1; bin >= 0 && bin < l.bins {
		l.hist[unit*l.bins+bin]++
	}
	l.age[unit] = 0
}

// TaskBoundary implements [method.TaskBoundary].
func (m *snr) TaskBoundary(s *learner.Step) error {
	if (s.Task+1)%m.cfg.Tasks != 0 {
		return nil
	}
	for _, l := range m.layers {
		for i, tau := range l.tau {
			next := m.cfg.Expansion * tau
			if q := float64(l.quantile(i, m.cfg.Percentile)); q < tau {
				next = q
			}
			l.tau[i] = min(max(next, float64(m.cfg.Least)), float64(m.cfg.Most))
		}
		clear(l.hist)
	}
	return nil
}

// quantile returns the age by which a fraction of a unit's silences ended.
func (l *snrLayer) quantile(unit int, fraction float64) int {
	hist := l.hist[unit*l.bins : (unit+1)*l.bins]
	total := 0
	for _, n := range hist {
		total += int(n)
	}
	sum := 0
	for bin, n := range hist {
		sum += int(n)
		if total > 0 && float64(sum)/float64(total) >= fraction {
			return (bin + 1) * l.batch
		}
	}
	return 1
}

var (
	_ method.AfterStep    = (*snr)(nil)
	_ method.TaskBoundary = (*snr)(nil)
	_ method.UnitResetter = (*snr)(nil)
)
