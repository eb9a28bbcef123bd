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
		Name:    "gridworld",
		Paper:   "Sutton & Barto 2018, Reinforcement Learning, chapters 3 and 6 (gridworlds)",
		Summary: "find the way to a goal that is not seen, and is elsewhere in every task",
	}, gridworldConfig{Tasks: 10, StepsPerTask: 5000, Size: 5, Limit: 50, Cost: 0.01}, nil, newGridworld)
}

type gridworldConfig struct {
	Tasks        int     `json:"tasks" doc:"number of tasks; each has a goal of its own"`
	StepsPerTask int64   `json:"steps_per_task" doc:"actions of each task"`
	Size         int     `json:"size" doc:"rows and columns"`
	Limit        int     `json:"limit" doc:"actions after which an episode is cut off"`
	Cost         float64 `json:"cost" doc:"what an action costs; reaching the goal gives 1"`
	Slip         float64 `json:"slip" doc:"probability that the move goes in a random direction"`
}

func (c gridworldConfig) Validate() error {
	errs := []error{checkLength(c.Tasks, c.StepsPerTask)}
	if c.Size < 2 || c.Size > 64 {
		errs = append(errs, component.Fieldf("size", "must be between 2 and 64, is %d", c.Size))
	}
	if c.Limit < 1 || c.Limit > 1<<20 {
		errs = append(errs, component.Fieldf("limit", "must be between 1 and %d, is %d", 1<<20, c.Limit))
	}
	for name, v := range map[string]float64{"cost": c.Cost, "slip": c.Slip} {
		if !(v >= 0 && v <= 1) {
			errs = append(errs, component.Fieldf(name, "must be between 0 and 1, is %v", v))
		}
	}
	return errors.Join(errs...)
}

// Info implements [environment.Config].
func (c gridworldConfig) Info() (environment.Info, error) {
	return environment.Info{Observation: tensor.Shape{c.Size * c.Size}, Actions: 4, Tasks: c.Tasks, StepsPerTask: c.StepsPerTask}, nil
}

// gridworld is a square of cells. The agent sees which one it is in, one-hot,
// starts an episode in a random one that is not the goal, and moves up, right,
// down or left; a move into the wall leaves it where it is.
type gridworld struct {
	cfg                gridworldConfig
	start, goals, slip rng.Key
	goal               int
	state              []float64 // cell, actions of the episode, number of the episode
}

func newGridworld(c gridworldConfig, env environment.Env) (environment.Environment, error) {
	return &gridworld{
		cfg: c, start: env.Key("start"), goals: env.Key("goal"), slip: env.Key("slip"),
		state: env.State("state", graph.F64, 3).F64,
	}, nil
}

// Enter implements [environment.Environment].
func (e *gridworld) Enter(task int) error {
	e.goal = e.goals.Intn(e.cfg.Size*e.cfg.Size, uint64(task), 0)
	return nil
}

// Reset implements [environment.Environment].
func (e *gridworld) Reset(number uint64) {
	cell := e.start.Intn(e.cfg.Size*e.cfg.Size-1, number, 0)
	if cell >= e.goal {
		cell++
	}
	e.state[0], e.state[1], e.state[2] = float64(cell), 0, float64(number)
}

// Observe implements [environment.Environment].
func (e *gridworld) Observe(dst []float32) {
	clear(dst)
	dst[int(e.state[0])] = 1
}

// Act implements [environment.Environment].
func (e *gridworld) Act(action int) environment.Outcome {
	episode, time := uint64(e.state[2]), uint64(e.state[1])
	if e.cfg.Slip > 0 && float64(e.slip.Float32(episode, 2*time)) < e.cfg.Slip {
		action = e.slip.Intn(4, episode, 2*time+1)
	}
	n := e.cfg.Size
	row, column := int(e.state[0])/n, int(e.state[0])%n
	switch action {
	case 0:
		row = max(row-1, 0)
	case 1:
		column = min(column+1, n-1)
	case 2:
		row = min(row+1, n-1)
	case 3:
		column = max(column-1, 0)
	}
	e.state[0] = float64(row*n + column)
	e.state[1]++
	o := environment.Outcome{Reward: float32(-e.cfg.Cost), Terminal: row*n+column == e.goal}
	if o.Terminal {
		o.Reward++
	}
	o.Truncated = !o.Terminal && int(e.state[1]) >= e.cfg.Limit
	return o
}
