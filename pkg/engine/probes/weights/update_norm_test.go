package weights

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
)

// TestUpdateNorm moves weights by known distances.
func TestUpdateNorm(t *testing.T) {
	net := probetest.Network(t, 2, 1, 1) // 3 and 2 parameters
	r, _, err := probe.Resolve("probes[0]", probetest.Object{"kind": "update-norm"})
	require.NoError(t, err)
	p, err := r.Build(probe.Env{Network: net, Space: graph.NewStore().Space(graph.OfProbe, "probe/0")})
	require.NoError(t, err)
	for _, w := range net.Params() {
		for i := range w.Var.F32 {
			w.Var.F32[i] = 0
		}
	}
	probetest.Measure(t, p, nil)
	net.Params()[0].Var.F32[0] = 3
	net.Params()[1].Var.F32[0] = 4
	net.Params()[2].Var.F32[0] = 5
	probetest.CloseTo(t, []float64{math.Sqrt(50. / 5), math.Sqrt(25. / 3), math.Sqrt(25. / 2)}, probetest.Measure(t, p, nil), 1e-6, "moved")
	probetest.CloseTo(t, []float64{0, 0, 0}, probetest.Measure(t, p, nil), 0, "stayed")
}
