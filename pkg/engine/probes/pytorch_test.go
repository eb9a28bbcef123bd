package probes

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/probes/internal/probetest"
)

// TestAgainstPyTorch holds the probes against testdata/gradients.py.
func TestAgainstPyTorch(t *testing.T) {
	g := probetest.ReadGolden(t, ".")
	check := func(raw probetest.Object, want []float64, tolerance float64) {
		t.Helper()
		p := g.Build(t, raw)
		probetest.CloseTo(t, want, probetest.Measure(t, p, g.Evaluation), tolerance, fmt.Sprint(raw))
		require.Zero(t, testing.AllocsPerRun(3, func() { probetest.MeasureInto(p, g.Evaluation) }), "%v allocates after its first use", raw)
	}
	check(probetest.Object{"kind": "fisher-rank"}, []float64{g.FisherRank}, 1e-7)
	check(probetest.Object{"kind": "ntk-rank"}, []float64{g.NTKRank}, 1e-7)
	check(probetest.Object{"kind": "saturated-units", "ratio": 1e-4, "share": 0.9}, g.Saturated["1e-4 0.9"], 1e-7)
	check(probetest.Object{"kind": "saturated-units", "ratio": 0.05, "share": 0.6}, g.Saturated["0.05 0.6"], 1e-7)
	check(probetest.Object{"kind": "duplicate-units"}, g.Duplicates["0.95"], 1e-7)
	check(probetest.Object{"kind": "duplicate-units", "cosine": 0.3}, g.Duplicates["0.3"], 1e-7)
	check(probetest.Object{"kind": "inactive-frequency"}, g.Inactive["0.01 0"], 1e-7)
	check(probetest.Object{"kind": "inactive-frequency", "frequency": 0.5, "threshold": 0.2}, g.Inactive["0.5 0.2"], 1e-7)
	check(probetest.Object{"kind": "active-units"}, g.Active, 1e-7)
	check(probetest.Object{"kind": "approximate-rank"}, g.Approximate, 1e-7)
	check(probetest.Object{"kind": "participation-ratio"}, g.Participation, 1e-5)
	check(probetest.Object{"kind": "weight-norm", "samples": nil}, append(g.WeightL1, g.WeightL2...), 1e-5)
	check(probetest.Object{"kind": "curvature", "iterations": 2000.0, "tolerance": 0.0, "vectors": 0.0}, []float64{g.MaxEigenvalue}, 1e-5*g.MaxEigenvalue)

	copy(g.Net.Params()[0].Var.F32, g.Low)
	check(probetest.Object{"kind": "weight-rank", "samples": nil}, g.WeightRank, 1e-7)
}
