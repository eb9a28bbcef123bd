package resets

import (
	"errors"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
)

func init() {
	method.Register(component.Info{
		Name:    "last-layer-reset",
		Paper:   "Nikishin et al. 2022, The Primacy Bias in Deep Reinforcement Learning; at task ends as the heads of Dohare et al. 2024, continual ImageNet",
		Summary: "the last layers start again, at the end of each task or every so many steps",
		Trial: component.Trial{
			Inert:  []component.Object{{"layers": 0.0}, {"period": 1e6}},
			Lively: component.Object{"layers": 2.0, "period": 7.0},
		},
	}, lastLayerConfig{Layers: 1, To: "initial-distribution"}, map[string]lastLayerConfig{
		"continual-imagenet-head": {Layers: 1, To: "zero"},
	}, newLastLayerReset)
}

type lastLayerConfig struct {
	Layers int    `json:"layers" doc:"how many layers, from the output back; 0 changes nothing"`
	Period int64  `json:"period" doc:"steps from one reset to the next; 0: at the end of each task"`
	To     string `json:"to" doc:"initial-distribution: drawn afresh as at the start; zero: weights and biases 0" enum:"initial-distribution|zero"`
}

func (c lastLayerConfig) Validate() error {
	var layers, period error
	if c.Layers < 0 {
		layers = component.Fieldf("layers", "must not be negative, is %d", c.Layers)
	}
	if c.Period < 0 {
		period = component.Fieldf("period", "must not be negative, is %d", c.Period)
	}
	return errors.Join(layers, period)
}

// lastLayerReset makes every parameter of the last layers new: drawn from what
// its initial value came from, or 0 (scales of normalisations: 1), and the
// optimiser's and other methods' state of these weights back to its start. More
// layers than the network has are the whole network.
type lastLayerReset struct {
	cfg    lastLayerConfig
	params []*nn.Param
	keys   []rng.Key
	states *optim.States
}

func newLastLayerReset(c lastLayerConfig, env method.Env) (method.Method, error) {
	m := &lastLayerReset{cfg: c, states: env.States}
	params := env.Network.Params()
	var layers []string // from the last back
	for _, p := range slices.Backward(params) {
		if !slices.Contains(layers, p.Layer) {
			layers = append(layers, p.Layer)
		}
	}
	layers = layers[:min(c.Layers, len(layers))]
	for _, p := range params {
		if slices.Contains(layers, p.Layer) {
			m.params = append(m.params, p)
			m.keys = append(m.keys, env.Key("draw/"+p.Var.Name))
		}
	}
	return m, nil
}

// ResetsUnits implements [method.UnitResetter].
func (m *lastLayerReset) ResetsUnits() {}

// AfterStep implements [method.AfterStep].
func (m *lastLayerReset) AfterStep(s *learner.Step) error {
	if m.cfg.Period > 0 && (s.Index+1)%m.cfg.Period == 0 {
		m.reset(s.Index)
	}
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *lastLayerReset) TaskBoundary(s *learner.Step) error {
	if m.cfg.Period == 0 {
		m.reset(s.Index)
	}
	return nil
}

func (m *lastLayerReset) reset(step int64) {
	for i, p := range m.params {
		d := p.Init
		if m.cfg.To == "zero" {
			d = nn.Distribution{Mean: d.Mean} // 1 for the scale of a normalisation
		}
		d.Fill(p.Var.F32, m.keys[i], uint64(step))
		m.states.Reset(p, 0, p.Var.Len())
	}
}

var (
	_ method.AfterStep    = (*lastLayerReset)(nil)
	_ method.TaskBoundary = (*lastLayerReset)(nil)
	_ method.UnitResetter = (*lastLayerReset)(nil)
)
