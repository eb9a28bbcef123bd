package analyses

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/safetensors"
)

func init() {
	analysis.Register(analysis.Info{
		Info: component.Info{
			Name:    "linear-mode-connectivity",
			Paper:   "Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, section 2",
			Summary: "loss and error on held-out examples along the straight line between two trained networks",
			Formula: "max_α E(α·W₁ + (1−α)·W₂) − (E(W₁) + E(W₂))/2, α = 0, 1/(points−1), …, 1",
		},
		Inputs: []analysis.Input{{Name: "first", Doc: "weights of a run"}, {Name: "second", Doc: "weights of another run of the same network"}},
		Metrics: []string{
			"loss_barrier", "error_barrier", "l2_distance", "loss_first", "loss_second", "error_first", "error_second",
		},
		Data: true,
	}, linearModeConnectivityConfig{Points: 30, Examples: 10_000}, nil, linearModeConnectivity)
}

type linearModeConnectivityConfig struct {
	Points   int `json:"points" doc:"points on the line, both ends among them (30 in the paper)"`
	Task     int `json:"task" doc:"task whose examples the networks are tried on"`
	Examples int `json:"examples" doc:"how many of its held-out examples, at most"`
}

// Validate implements [component.Config].
func (c linearModeConnectivityConfig) Validate() error {
	switch {
	case c.Points < 2 || c.Points > 1000:
		return component.Fieldf("points", "must be between 2 and 1000, is %d", c.Points)
	case c.Task < 0:
		return component.Fieldf("task", "must not be negative, is %d", c.Task)
	case c.Examples < 1 || c.Examples > 1<<16:
		return component.Fieldf("examples", "must be between 1 and %d, is %d", 1<<16, c.Examples)
	}
	return nil
}

// linearModeConnectivity evaluates the network of the first run with weights
// between those of the two.
//
// Metrics, over the examples: loss_* is the mean prediction loss, error_* the
// share of wrong answers (NaN in regression), of both ends and as barriers: the
// largest value on the line above the mean of the ends, 0 where there is none.
// l2_distance is ‖W₁ − W₂‖₂ over all parameters. The running statistics of batch
// normalisation lie on the line too, and are no part of the distance.
func linearModeConnectivity(c linearModeConnectivityConfig, env analysis.Env) (*analysis.Result, error) {
	first, err := env.One("first")
	if err != nil {
		return nil, err
	}
	second, err := env.One("second")
	if err != nil {
		return nil, err
	}
	line, distance, err := newLine(first.File, second.File)
	if err != nil {
		return nil, err
	}
	life, err := restingLife(first, env)
	if err != nil {
		return nil, fmt.Errorf("network of the first run: %w", err)
	}
	var losses, wrongs []float64
	for i := range c.Points {
		if err := env.Context.Err(); err != nil {
			return nil, err
		}
		file, err := line.at(float64(i) / float64(c.Points-1))
		if err != nil {
			return nil, err
		}
		if err := life.SetWeights(file); err != nil {
			return nil, err
		}
		e, err := life.Evaluate(c.Task, c.Examples)
		if err != nil {
			return nil, err
		}
		var loss, wrong float64
		for _, v := range e.Losses {
			loss += float64(v)
		}
		for _, v := range e.Correct {
			wrong += 1 - float64(v)
		}
		if len(e.Correct) == 0 {
			wrong = math.NaN()
		}
		losses = append(losses, loss/float64(e.N))
		wrongs = append(wrongs, wrong/float64(e.N))
	}
	last := c.Points - 1
	return &analysis.Result{Metrics: map[string]float64{
		"loss_barrier": barrier(losses), "error_barrier": barrier(wrongs), "l2_distance": distance,
		"loss_first": losses[last], "loss_second": losses[0], "error_first": wrongs[last], "error_second": wrongs[0],
	}}, nil
}

// barrier is the largest value above the mean of the ends.
func barrier(values []float64) float64 {
	return slices.Max(values) - float64((values[0]+values[len(values)-1])/2)
}

// restingLife builds the life of a run to try weights on. What it started from is
// of no matter.
func restingLife(g analysis.Given, env analysis.Env) (*engine.Life, error) {
	b, err := json.Marshal(g.Spec) // a copy, to be changed
	if err != nil {
		return nil, err
	}
	var raw engine.RawSpec
	if err := json.Unmarshal(b, &struct {
		Stream      *map[string]any `json:"stream"`
		Environment *map[string]any `json:"environment"`
		Learner     *map[string]any `json:"learner"`
	}{&raw.Stream, &raw.Environment, &raw.Learner}); err != nil {
		return nil, err
	}
	if network, ok := raw.Learner["network"].(map[string]any); ok {
		delete(network, "weights")
	}
	spec, err := engine.Resolve(raw)
	if err != nil {
		return nil, err
	}
	return engine.New(spec, engine.Env{Seed: g.Seed, Data: env.Data})
}

// line is the straight line between two networks.
type line struct {
	names         []string
	shapes        map[string]safetensors.Tensor
	first, second map[string][]float64
}

func newLine(a, b []byte) (*line, float64, error) {
	l := &line{first: map[string][]float64{}, second: map[string][]float64{}}
	one, err := tensors(a)
	if err != nil {
		return nil, 0, fmt.Errorf("first: %w", err)
	}
	two, err := tensors(b)
	if err != nil {
		return nil, 0, fmt.Errorf("second: %w", err)
	}
	if len(one) != len(two) || len(one) == 0 {
		return nil, 0, fmt.Errorf("the runs have networks of %d and %d parameters", len(one), len(two))
	}
	l.shapes = one
	var square float64
	for _, name := range slices.Sorted(maps.Keys(one)) {
		if !slices.Equal(one[name].Shape, two[name].Shape) {
			return nil, 0, fmt.Errorf("%s is %v in the first run and %v in the second", name, one[name].Shape, two[name].Shape)
		}
		l.names = append(l.names, name)
		if l.first[name], err = numbers(one, name); err != nil {
			return nil, 0, err
		}
		if l.second[name], err = numbers(two, name); err != nil {
			return nil, 0, err
		}
		if strings.Contains(name, "/running_") {
			continue
		}
		for i, v := range l.first[name] {
			d := v - l.second[name][i]
			square += float64(d * d)
		}
	}
	if math.IsNaN(square) || math.IsInf(square, 0) {
		return nil, 0, errors.New("weights are not finite")
	}
	return l, math.Sqrt(square), nil
}

// at is the file of α·first + (1−α)·second.
func (l *line) at(alpha float64) ([]byte, error) {
	f := &safetensors.File{}
	for _, name := range l.names {
		between := make([]float64, len(l.first[name]))
		for i, v := range l.first[name] {
			between[i] = float64(alpha*v) + float64((1-alpha)*l.second[name][i])
		}
		t := floats32(name, between)
		t.Shape = l.shapes[name].Shape
		f.Tensors = append(f.Tensors, t)
	}
	var b bytes.Buffer
	if err := safetensors.Encode(&b, f); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
