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
	"neoteny/pkg/engine/rng"
)

func init() {
	method.Register(component.Info{
		Name:    "redo",
		Paper:   "Sokar et al. 2023, The Dormant Neuron Phenomenon in Deep Reinforcement Learning, algorithm 1",
		Summary: "hidden units that are hardly active are recycled, every so many steps",
		Needs:   []component.Capability{component.Units},
		Trial: component.Trial{
			Inert:  []component.Object{{"period": 1e6, "window": 1.0}},
			Lively: component.Object{"period": 5.0, "window": 3.0, "threshold": 0.8},
		},
	}, redoConfig{Period: 1000, Threshold: 0.025, Window: 64, Units: "dormant"}, map[string]redoConfig{
		// Sokar et al. 2023: at the usual and at a high replay ratio.
		"sokar":             {Period: 1000, Threshold: 0.025, Window: 1, Units: "dormant"},
		"sokar-high-replay": {Period: 1000, Threshold: 0.1, Window: 1, Units: "dormant"},
		// Kumar et al. 2024, table 3, mini-batches of 16: after each task. The
		// window of 16 steps is 256 examples, as in Sokar et al.'s code.
		"kumar-permuted-mnist":     {Period: 625, Threshold: 0, Window: 16, Units: "dormant"},
		"kumar-random-label-mnist": {Period: 30000, Threshold: 0.1, Window: 16, Units: "dormant"},
	}, newRedo)
}

type redoConfig struct {
	Period    int64   `json:"period" doc:"F: steps from one check to the next, counted from the start of the run"`
	Threshold float64 `json:"threshold" doc:"τ: a unit is dormant when its activity, relative to its layer's mean, is at most this"`
	Window    int64   `json:"window" doc:"the batches of this many steps up to the check are what activity is measured on"`
	Units     string  `json:"units" doc:"which are recycled: those that are dormant, or as many others at random, the control" enum:"dormant|random"`
}

func (c redoConfig) Validate() error {
	var period, window error
	if c.Period < 1 {
		period = component.Fieldf("period", "must be at least 1 step, is %d", c.Period)
	}
	if c.Window < 1 || c.Window > max(c.Period, 1) {
		window = component.Fieldf("window", "must be between 1 and the period of %d steps, is %d", c.Period, c.Window)
	}
	return errors.Join(period, window, check.Range("threshold", c.Threshold, 0, 1e6))
}

// redo checks every hidden layer after steps F, 2F, 3F, …:
//
//	s_i = mean|h_i| / (mean_k mean|h_k| + 1e-9)
//	s_i ≤ τ ⇒ W_in,i drawn afresh, b_i = 0, W_out,i = 0,
//	          optimiser state of these weights back to its start
//
// The paper says that scores sum to 1 in a layer; its code divides by the mean
// as here, so that τ does not depend on the layer's width. The mean of |h| is
// over the training batches of the last window steps, each as its forward pass
// saw it. The paper evaluates one batch of a replay buffer, which window 1 is
// closest to; with batches of one example a window of 64 is as many examples as
// usual implementations take. For a channel of a
// convolution it is the mean over positions, too. All layers are measured before any is changed. Incoming weights are
// drawn from the distribution of the network's initialiser (the paper's code:
// Xavier). The output layer has no units to recycle. With random units as many
// are recycled as are dormant, drawn among all (their figure 14).
type redo struct {
	cfg    redoConfig
	layers []*redoLayer
}

type redoLayer struct {
	units  *nn.Units
	new    *recycle.Recycler
	key    rng.Key // which units, if at random
	order  []int32
	active []float64 // Σ|h| over the window, per unit; 0 between windows
}

func newRedo(c redoConfig, env method.Env) (method.Method, error) {
	m := &redo{cfg: c}
	for _, u := range env.Network.Units() {
		m.layers = append(m.layers, &redoLayer{
			units: u, new: recycle.New(env, u), key: env.Key(u.Layer + "/random"), order: make([]int32, u.N),
			active: env.State(u.Layer+"/active", graph.F64, u.N).F64,
		})
	}
	return m, nil
}

// ResetsUnits implements [method.UnitResetter].
func (m *redo) ResetsUnits() {}

// AfterStep implements [method.AfterStep].
func (m *redo) AfterStep(s *learner.Step) error {
	toCheck := m.cfg.Period - 1 - s.Index%m.cfg.Period
	if toCheck >= m.cfg.Window {
		return nil
	}
	for i, l := range m.layers {
		units := l.units.N
		for row := s.Features[i]; len(row) > 0; row = row[units:] {
			for k, h := range row[:units] {
				l.active[k] += math.Abs(float64(h))
			}
		}
	}
	if toCheck > 0 {
		return nil
	}
	for _, l := range m.layers {
		rows := float64(m.cfg.Window) * float64(s.Batch.N) * float64(l.units.Rows())
		l.recycle(s.Index, m.cfg, rows)
	}
	return nil
}

// recycle makes dormant units new and ends the window.
func (l *redoLayer) recycle(step int64, cfg redoConfig, rows float64) {
	var total float64
	for _, a := range l.active {
		total += a
	}
	mean := total / rows / float64(l.units.N)
	random := cfg.Units == "random"
	if random {
		l.key.Perm(l.order, uint64(step))
	}
	dormant := 0
	for i, a := range l.active {
		if a/rows/(mean+1e-9) > cfg.Threshold {
			continue
		}
		if random {
			i = int(l.order[dormant])
		}
		dormant++
		l.new.Recycle(step, i)
	}
	clear(l.active)
}

var (
	_ method.AfterStep    = (*redo)(nil)
	_ method.UnitResetter = (*redo)(nil)
)
