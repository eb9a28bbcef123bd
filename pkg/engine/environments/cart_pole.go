package environments

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

func init() {
	environment.Register(component.Info{
		Name:    "cart-pole",
		Paper:   "Barto, Sutton & Anderson 1983, Neuronlike adaptive elements that can solve difficult learning control problems; constants and limits as in Gymnasium's CartPole-v1",
		Summary: "balance a pole on a cart by pushing it left or right",
	}, cartPoleConfig{Tasks: 1, StepsPerTask: 50000, Limit: 500}, nil, newCartPole)
}

type cartPoleConfig struct {
	Tasks        int     `json:"tasks" doc:"number of tasks; between them the forces and lengths change, by variation"`
	StepsPerTask int64   `json:"steps_per_task" doc:"actions of each task"`
	Limit        int     `json:"limit" doc:"actions after which an episode is cut off"`
	Variation    float64 `json:"variation" doc:"force and pole length of every task but the first are those of the first times a factor drawn from [1 − variation, 1 + variation]; 0: all tasks are alike"`
	Flip         bool    `json:"flip" doc:"in every second task left is right"`
}

func (c cartPoleConfig) Validate() error {
	errs := []error{checkLength(c.Tasks, c.StepsPerTask)}
	if c.Limit < 1 || c.Limit > 1<<20 {
		errs = append(errs, component.Fieldf("limit", "must be between 1 and %d, is %d", 1<<20, c.Limit))
	}
	if !(c.Variation >= 0 && c.Variation < 1) {
		errs = append(errs, component.Fieldf("variation", "must be in [0, 1), is %v", c.Variation))
	}
	return errors.Join(errs...)
}

// Info implements [environment.Config].
func (c cartPoleConfig) Info() (environment.Info, error) {
	return environment.Info{Observation: tensor.Shape{4}, Actions: 2, Tasks: c.Tasks, StepsPerTask: c.StepsPerTask}, nil
}

// Physics of the cart and the pole, in metres, kilograms, seconds and radians.
const (
	gravity    = 9.8
	cartMass   = 1.0
	poleMass   = 0.1
	halfLength = 0.5
	pushForce  = 10.0
	timeStep   = 0.02
	angleLimit = 12 * 2 * 3.141592653589793 / 360
	trackLimit = 2.4
)

// cartPole is the frictionless cart with a pole of mass m and half length l:
//
//	t = (F + m l θ̇² sin θ) / M,           M = mass of both
//	θ̈ = (g sin θ − t cos θ) / (l (4/3 − m cos² θ / M))
//	ẍ = t − m l θ̈ cos θ / M
//
// in Euler steps of 20 ms. The reward of every action is 1; an episode ends
// when the pole leans by more than 12° or the cart leaves ±2.4 m.
type cartPole struct {
	cfg           cartPoleConfig
	key, physics  rng.Key
	force, length float64   // of the task
	state         []float64 // x, ẋ, θ, θ̇, actions of the episode
}

func newCartPole(c cartPoleConfig, env environment.Env) (environment.Environment, error) {
	return &cartPole{
		cfg: c, key: env.Key("start"), physics: env.Key("physics"), force: pushForce, length: halfLength,
		state: env.State("state", graph.F64, 5).F64,
	}, nil
}

// Enter implements [environment.Environment].
func (e *cartPole) Enter(task int) error {
	e.force, e.length = pushForce, halfLength
	if task > 0 && e.cfg.Variation > 0 {
		factor := func(which uint64) float64 {
			return 1 + float64(e.cfg.Variation*(2*float64(e.physics.Float32(uint64(task), which))-1))
		}
		e.force, e.length = pushForce*factor(0), halfLength*factor(1)
	}
	if e.cfg.Flip && task%2 == 1 {
		e.force = -e.force
	}
	return nil
}

// Reset implements [environment.Environment]: all of the state is drawn from
// [−0.05, 0.05].
func (e *cartPole) Reset(number uint64) {
	for i := range 4 {
		e.state[i] = float64(0.1*float64(e.key.Float32(number, uint64(i)))) - 0.05
	}
	e.state[4] = 0
}

// Observe implements [environment.Environment].
func (e *cartPole) Observe(dst []float32) {
	for i := range 4 {
		dst[i] = float32(e.state[i])
	}
}

// Act implements [environment.Environment]: 0 pushes to the left, 1 to the
// right.
func (e *cartPole) Act(action int) environment.Outcome {
	s := e.state
	force := e.force
	if action == 0 {
		force = -force
	}
	const mass = cartMass + poleMass
	sin, cos := sinCos(s[2])
	moment := poleMass * e.length
	t := (force + float64(float64(moment*float64(s[3]*s[3]))*sin)) / mass
	angular := (float64(gravity*sin) - float64(t*cos)) / (e.length * (4.0/3 - float64(poleMass*float64(cos*cos))/mass))
	linear := t - float64(float64(moment*angular)*cos)/mass
	s[0] += float64(timeStep * s[1])
	s[1] += float64(timeStep * linear)
	s[2] += float64(timeStep * s[3])
	s[3] += float64(timeStep * angular)
	s[4]++
	o := environment.Outcome{Reward: 1}
	o.Terminal = s[0] < -trackLimit || s[0] > trackLimit || s[2] < -angleLimit || s[2] > angleLimit
	o.Truncated = !o.Terminal && int(s[4]) >= e.cfg.Limit
	return o
}

// sinCos returns sine and cosine of the small angles at which the pole still
// stands, by their series; below 0.5 rad what is left out is below 1e-12.
// Package math's have other last bits on other processors.
func sinCos(x float64) (sin, cos float64) {
	sin, cos = x, 1
	power := x // xᵏ/k!
	for k := 2; k <= 12; k += 2 {
		power = float64(power*x) / float64(k)
		power = -power
		cos += power
		power = float64(power*x) / float64(k+1)
		sin += power
	}
	return sin, cos
}
