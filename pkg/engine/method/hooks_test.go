package method_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/stream"
)

// config of the test methods: each is registered once, as test-<name>.
type config struct{}

func (config) Validate() error { return nil }

func register(name string, build func(env method.Env) method.Method) {
	method.Register(component.Info{Name: "test-" + name, Summary: "of a test"}, config{}, nil,
		func(_ config, env method.Env) (method.Method, error) { return build(env), nil })
}

type afterBackward func(s *learner.Step, g [][]float32) error

func (f afterBackward) AfterBackward(s *learner.Step, g [][]float32) error { return f(s, g) }

type around func(s *learner.Step, next func() error) error

func (f around) Around(s *learner.Step, next func() error) error { return f(s, next) }

type batcher func(s *learner.Step) error

func (f batcher) Batch(s *learner.Step) error { return f(s) }

type losser func(t *method.Trace) graph.Node

func (f losser) Loss(t *method.Trace) graph.Node { return f(t) }

type boundary func(s *learner.Step) error

func (f boundary) TaskBoundary(s *learner.Step) error { return f(s) }

type evaluator func(b *graph.Builder, a nn.Activations) graph.Node

func (f evaluator) Evaluate(b *graph.Builder, a nn.Activations) graph.Node { return f(b, a) }

// second compares the gradients of the step with those of On.
type second struct {
	g        method.Gradients
	compared int
}

func (m *second) GradientBatch() int              { return 4 }
func (m *second) UseGradients(g method.Gradients) { m.g = g }
func (m *second) AfterBackward(s *learner.Step, gradients [][]float32) error {
	other, err := m.g.On(s.Batch)
	if err != nil {
		return err
	}
	for i := range gradients {
		for k := range gradients[i] {
			if gradients[i][k] != other[i][k] {
				return fmt.Errorf("gradient %d[%d] is %v, of the same batch %v", i, k, gradients[i][k], other[i][k])
			}
		}
	}
	m.compared++
	if _, err := m.g.On(&stream.Batch{N: 3}); err == nil {
		return fmt.Errorf("a batch of another size was taken")
	}
	return nil
}

// output measures Σ|output| of an evaluation.
type output struct{}

func (output) Columns() []probe.Column { return []probe.Column{{Metric: "test_output"}} }
func (output) Samples() int            { return 10 }
func (output) Measure(e *learner.Evaluation, values []float32) error {
	values[0] = 0
	for _, v := range e.Output {
		values[0] += max(v, -v)
	}
	return nil
}

// tanhConfig is a configuration with the Build hook.
type tanhConfig struct{}

func (tanhConfig) Validate() error { return nil }

func (tanhConfig) Build(bp *nn.Blueprint) error {
	for i := range bp.Layers[:len(bp.Layers)-1] {
		bp.Layers[i].Activation = activation.Named("tanh")
	}
	return nil
}

var (
	theSecond  second
	boundaries []int
)

func init() {
	register("nothing-after-backward", func(method.Env) method.Method {
		return afterBackward(func(*learner.Step, [][]float32) error { return nil })
	})
	register("double", func(method.Env) method.Method {
		return afterBackward(func(_ *learner.Step, g [][]float32) error {
			for _, p := range g {
				for i := range p {
					p[i] *= 2
				}
			}
			return nil
		})
	})
	register("around-once", func(method.Env) method.Method {
		return around(func(_ *learner.Step, next func() error) error { return next() })
	})
	register("around-never", func(method.Env) method.Method {
		return around(func(*learner.Step, func() error) error { return nil })
	})
	register("same-batch", func(env method.Env) method.Method {
		return batcher(func(s *learner.Step) error {
			for i := range s.Batch.X {
				s.Batch.X[i] = float32(i%3) / 2
			}
			for i := range s.Batch.Targets {
				s.Batch.Targets[i] = 1
			}
			return nil
		})
	})
	register("penalty", func(method.Env) method.Method {
		return losser(func(t *method.Trace) graph.Node {
			var sum graph.Node
			for _, p := range t.Network.Params() {
				s := t.B.Scale(0.005, t.B.Sum(t.B.Square(t.B.Read(p.Var))))
				if sum.Valid() {
					s = t.B.Add(sum, s)
				}
				sum = s
			}
			return sum
		})
	})
	register("second", func(method.Env) method.Method { return &theSecond })
	register("boundary", func(method.Env) method.Method {
		return boundary(func(s *learner.Step) error { boundaries = append(boundaries, s.Task); return nil })
	})
	register("mute", func(method.Env) method.Method {
		return evaluator(func(b *graph.Builder, a nn.Activations) graph.Node { return b.Scale(0, a.Output) })
	})
	probe.Register(probe.Info{Info: component.Info{Name: "test-output", Summary: "of a test"}, Metrics: []probe.Metric{{Metric: "test_output", Title: "Output"}}, Every: "task", At: "end"},
		config{}, nil, func(config, probe.Env) (probe.Probe, error) { return output{}, nil })
	method.Register(component.Info{Name: "test-tanh", Summary: "of a test"}, tanhConfig{}, nil,
		func(tanhConfig, method.Env) (method.Method, error) { return struct{}{}, nil })
}

type sink struct{ tables [][]float64 }

func (s *sink) Rows(engine.Rows) error { return nil }
func (s *sink) Boundary(b engine.Boundary) error {
	s.tables = append(s.tables, b.Table)
	return nil
}

// live runs three tasks of 40 steps and returns the losses and weight
// magnitudes of the tasks.
func live(t *testing.T, lr float64, activation string, methods ...any) [][]float64 {
	t.Helper()
	list := []any{}
	for _, m := range methods {
		if name, ok := m.(string); ok {
			m = map[string]any{"kind": "test-" + name}
		}
		list = append(list, m)
	}
	spec, err := engine.Resolve(engine.RawSpec{
		Stream: map[string]any{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 160.0, "batch": 4.0},
		Learner: map[string]any{
			"network":   map[string]any{"kind": "mlp", "hidden": []any{6.0, 5.0}, "activation": activation},
			"optimizer": map[string]any{"kind": "sgd", "lr": lr},
			"methods":   list,
		},
		Probes: []map[string]any{{"kind": "loss"}, {"kind": "weight-magnitude"}, {"kind": "dormant-units", "samples": 10.0}, {"kind": "test-output"}},
	})
	require.NoError(t, err)
	life, err := engine.New(spec, engine.Env{Seed: 3})
	require.NoError(t, err)
	var s sink
	require.NoError(t, life.Advance(context.Background(), spec.Steps(), &s))
	return s.tables
}

func TestHooksThatDoNothingChangeNothing(t *testing.T) {
	plain := live(t, 0.01, "relu")
	require.Equal(t, plain, live(t, 0.01, "relu", "nothing-after-backward"), "whole gradients in between: the same bits")
	require.Equal(t, plain, live(t, 0.01, "relu", "around-once"))
	require.Equal(t, plain, live(t, 0.01, "relu", "around-once", "nothing-after-backward", "boundary"))
}

func TestAfterBackwardEditsGradients(t *testing.T) {
	require.Equal(t, live(t, 0.02, "relu"), live(t, 0.01, "relu", "double"), "twice the gradient is twice the step size")
}

func TestAroundDecidesWhetherThereIsAStep(t *testing.T) {
	tables := live(t, 0.01, "relu", "around-never")
	require.Equal(t, tables[0][1:5], tables[2][1:5], "the weights stay")
}

func TestBatchIsWhatIsLearnt(t *testing.T) {
	tables := live(t, 0.01, "relu", "same-batch")
	require.Less(t, tables[2][0], 2e-3, "one pattern is soon known")
}

func TestLossTermIsPartOfTheGradient(t *testing.T) {
	term := live(t, 0.01, "relu", "penalty")
	l2 := live(t, 0.01, "relu", map[string]any{"kind": "l2", "lambda": 0.01})
	require.NotEqual(t, live(t, 0.01, "relu"), term)
	for task := range term {
		require.InDeltaSlice(t, l2[task], term[task], 1e-4)
	}
}

func TestBuildEditsTheNetwork(t *testing.T) {
	require.Equal(t, live(t, 0.01, "tanh"), live(t, 0.01, "relu", "tanh"))
}

func TestSecondGradient(t *testing.T) {
	theSecond = second{}
	require.Equal(t, live(t, 0.01, "relu"), live(t, 0.01, "relu", "second"))
	require.Equal(t, 120, theSecond.compared)
}

func TestTaskBoundaryIsToldOncePerTask(t *testing.T) {
	boundaries = nil
	live(t, 0.01, "relu", "boundary")
	require.Equal(t, []int{0, 1, 2}, boundaries)
}

func TestEvaluateChangesEvaluationsOnly(t *testing.T) {
	plain, mute := live(t, 0.01, "relu"), live(t, 0.01, "relu", "mute")
	for task := range plain {
		last := len(plain[task]) - 1
		require.Equal(t, plain[task][:last], mute[task][:last])
		require.NotZero(t, plain[task][last])
		require.Zero(t, mute[task][last])
	}
}
