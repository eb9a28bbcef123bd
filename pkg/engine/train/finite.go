package train

import (
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
)

// notFinite reports the loss of this step, which is not finite.
func (t *Trainer) notFinite() error {
	s, layer := t.now, t.firstNonFinite()
	return &learner.Diverged{
		Step: s.Index, Task: s.Task, Layer: layer,
		What: fmt.Sprintf("the loss is %v; the first value that is not finite is in layer %s", s.Loss, layer),
	}
}

// firstNonFinite names the first layer whose activations are not finite.
func (t *Trainer) firstNonFinite() string {
	for i, f := range t.features {
		if !finite(f) {
			return t.model.Network.Units()[i].Layer
		}
	}
	return "output"
}

// checkFinite reports weights and states that are not finite at the end of a task,
// where no loss has shown them: the last update's, those of inputs that are 0, and
// those behind units that are off.
func (t *Trainer) checkFinite(s *learner.Step) error {
	for _, p := range t.model.Network.Params() {
		if !finite(p.Var.F32) {
			return &learner.Diverged{
				Step: s.Index, Task: s.Task, Layer: p.Layer,
				What: fmt.Sprintf("the %s of layer %s is not finite", p.Role, p.Layer),
			}
		}
	}
	for _, v := range t.Store().Vars() {
		if v.Keep == graph.Persistent && !finite(v.F32) {
			return &learner.Diverged{Step: s.Index, Task: s.Task, What: fmt.Sprintf("the state %s is not finite", v.Name)}
		}
	}
	return nil
}

func finite(values []float32) bool {
	for _, v := range values {
		if v-v != 0 {
			return false
		}
	}
	return true
}
