package assemble

import (
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/model"
	"neoteny/pkg/engine/spec"
)

// WeightsPath returns the file that a spec's network starts from; empty for none.
func WeightsPath(s *spec.Spec) string {
	if s.Network == nil {
		return ""
	}
	weights, _ := s.Network.Canonical()["weights"].(map[string]any)
	path, _ := weights["path"].(string)
	return path
}

// CheckWeights builds the network of a spec that starts from a file, and nothing else,
// to find a file that is not there, is another one or does not fit. The file is this
// machine's; on another one the outcome may be another.
func CheckWeights(s *spec.Spec) (err error) {
	if WeightsPath(s) == "" {
		return nil
	}
	defer graph.Catch(&err)
	a := &assembly{spec: s}
	_, err = model.New(model.Config{
		Store: graph.NewStore(), Network: s.Network, Info: s.Info, Objective: learner.Objective{Batch: 1},
		Key: a.env.learnerKey, Edit: a.edit,
	})
	return err
}
