package app

import (
	"encoding/json"

	"neoteny/pkg/engine"
	"neoteny/pkg/experiment"
)

// CheckWeights finds weights files that the networks of a plan start from and cannot, on
// this machine, before hours of work depend on them.
func CheckWeights(plan *experiment.Plan) error {
	seen := map[string]bool{}
	for _, t := range plan.Trials {
		if t.Spec.Network == nil {
			continue
		}
		b, err := json.Marshal([]any{t.Spec.Network.Canonical(), t.Spec.Info.Input, t.Spec.Info.Outputs})
		if err != nil || seen[string(b)] {
			continue
		}
		seen[string(b)] = true
		if err := engine.CheckWeights(t.Spec); err != nil {
			return err
		}
	}
	return nil
}
