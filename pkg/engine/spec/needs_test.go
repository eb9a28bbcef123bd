package spec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/stream"
)

// A component of a later version may need what this one has no words for: the message
// names it as it is, whatever it looks like.
func TestUnknownCapabilitiesAreNamed(t *testing.T) {
	s := &Spec{
		Stream:  &stream.Resolved{Info: component.Info{Name: "permuted"}},
		Learner: &learner.Resolved{Info: component.Info{Name: "supervised"}},
		Methods: []*method.Resolved{{Path: "learner.methods[0]", Info: component.Info{
			Name: "psychic", Needs: []component.Capability{"%d%s", component.Units},
		}}},
	}
	require.EqualError(t, s.checkNeeds(), `learner.methods[0]: psychic needs the capability "%d%s", which nothing in the spec provides (stream "permuted")
learner.methods[0]: psychic needs a network with hidden units; learner.network has none (stream "permuted")`)
}
