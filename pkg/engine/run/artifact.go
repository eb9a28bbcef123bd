package run

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/model"
)

// Artifact returns an artifact of the run as the life stands: what others get
// is that of its end.
func (l *Life) Artifact(name string) ([]byte, error) {
	b, err := l.publish(name)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", name, err)
	}
	return b, nil
}

func (l *Life) publish(name string) ([]byte, error) {
	if p := l.publishers[name]; p != nil {
		return p.Publish(name)
	}
	if name == component.Weights && l.spec.Network != nil {
		return model.EncodeWeights(l.learner.Store())
	}
	return nil, fmt.Errorf("no component of the run has such an artifact")
}

// SetWeights gives the network the weights of a file as [component.Weights] has
// them, for trying it: of the same network, every parameter and statistic.
func (l *Life) SetWeights(b []byte) error { return model.SetWeights(l.learner.Store(), b) }

// Evaluate runs the learner as it stands on the first n held-out examples of a
// task, at most as many as it has; where the stream holds none back, on n examples
// of its training. The result is valid until the next call.
func (l *Life) Evaluate(task, n int) (*learner.Evaluation, error) { return l.tasks.Evaluate(task, n) }
