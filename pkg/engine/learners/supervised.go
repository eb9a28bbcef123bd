package learners

import (
	"encoding/json"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/stream"
)

func init() {
	learner.SetDefault("supervised")
	learner.Register(component.Info{
		Name:     "supervised",
		Summary:  "a network trained on the stream's labels or targets, batch by batch; what a learner is that names no kind",
		Needs:    []component.Capability{component.Core, component.Stream},
		Provides: []component.Capability{component.Lockstep},
	}, supervisedConfig{Loss: "auto"}, nil, newSupervised)
}

type supervisedConfig struct {
	Loss loss `json:"loss" doc:"what is minimised; auto: cross-entropy for class labels, mse for targets"`
}

func (supervisedConfig) Validate() error { return nil }

// loss is the name of one.
type loss string

// UnmarshalJSON implements [json.Unmarshaler].
func (l *loss) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	name, _ := v.(string)
	if !slices.Contains(losses, name) {
		return component.Fieldf("", "must be auto, cross-entropy or mse, is %v", v)
	}
	*l = loss(name)
	return nil
}

// JSONSchema implements [component.Schemer].
func (loss) JSONSchema() map[string]any { return map[string]any{"type": "string", "enum": losses} }

var losses = []string{"auto", "cross-entropy", "mse"}

// Fits implements [learner.Fitter].
func (c supervisedConfig) Fits(info stream.Info, source string) error {
	if c.Loss == "cross-entropy" && info.Classes == 0 {
		return component.Fieldf("loss", "cross-entropy needs a stream with class labels; the %s has none", source)
	}
	return nil
}

// newSupervised builds a learner that is nothing but its core, trained with the
// outputs z of an example for
//
//	cross-entropy  −ln softmax(z)_y
//	mse            Σ_k (z_k − t_k)²/outputs,   t the target, or 1 at the label and else 0
func newSupervised(c supervisedConfig, env learner.Env) (learner.Learner, error) {
	classes, outputs := env.Info.Classes, env.Info.Outputs
	squared := func(b *graph.Builder, z, t graph.Node) graph.Node {
		return b.Scale(1/float32(outputs), b.SumRows(b.Square(b.Sub(z, t))))
	}
	return env.Core(learner.Objective{Batch: env.Info.Batch, Losses: func(b *graph.Builder, z graph.Node, n int) graph.Node {
		if classes == 0 {
			return squared(b, z, b.Input("targets", n, outputs))
		}
		labels := b.Labels("labels", n)
		var each graph.Node
		if c.Loss == "mse" {
			each = squared(b, z, b.OneHot(labels, classes))
		} else {
			each = b.CrossEntropy(z, labels)
		}
		b.Output("correct", b.Correct(z, labels))
		return each
	}})
}
