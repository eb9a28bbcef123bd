package spec_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/spec"
)

type object = map[string]any

// Convolutions over colour images have bits that they did not always have, and so an
// identity of their own; nothing else has.
func TestIdentityOfConvolutionsOverColourImages(t *testing.T) {
	raw := func(dataset string, network object) spec.Raw {
		return spec.Raw{
			Stream:  object{"kind": "images", "dataset": dataset, "tasks": 2.0, "batch": 4.0, "subset": 40.0},
			Learner: object{"network": network, "optimizer": object{"kind": "sgd", "lr": 0.01}},
		}
	}
	cnn := object{"kind": "cnn", "convolutions": []any{object{"channels": 2.0, "kernel": 5.0, "stride": 3.0, "pool": 2.0}}}
	for name, tt := range map[string]struct {
		dataset string
		network object
		colour  bool
	}{
		"colour into convolutions": {"cifar-10", cnn, true},
		"grey into convolutions":   {"mnist", cnn, false},
		"colour into an MLP":       {"cifar-10", object{"kind": "mlp"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := spec.Resolve(raw(tt.dataset, tt.network))
			require.NoError(t, err)
			require.Equal(t, tt.colour, json.Valid(s.JSON()) && containsReads(s))
			var again struct {
				Stream, Learner object
				Probes          []object
			}
			require.NoError(t, json.Unmarshal(s.JSON(), &again))
			back, err := spec.Resolve(spec.Raw{Stream: again.Stream, Learner: again.Learner, Probes: again.Probes})
			require.NoError(t, err)
			require.Equal(t, string(s.JSON()), string(back.JSON()))
		})
	}
}

func containsReads(s *spec.Spec) bool {
	network := s.Canonical()["learner"].(object)["network"].(object)
	return network["reads"] == "colour-images"
}
