package activation

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Functions that look at an example's whole layer, or give two outputs per
// unit.
func init() {
	threshold := func(f form, x graph.Node, p component.Numbers) graph.Node {
		mean, deviation := f.moments(x)
		return f.times(p["alpha"], f.Sub(x, f.Add(mean, f.times(p["z"], deviation))))
	}
	params := []component.Number{
		param("alpha", "α: sharpness of the gate", 3, 1e-3, 100),
		param("z", "z_k: how many standard deviations above the layer's mean the gate is half open", 2.3, -10, 10),
	}
	const doc = "; μ and σ_x are mean and standard deviation of the example's units in the layer"
	add(
		entry{
			name: "ash", title: "adaptive swish" + doc, formula: "x·σ(alpha·(x − μ − z·σ_x))", derivative: "by the product rule, through μ and σ_x too",
			source: "Lee et al. 2022, Stochastic Adaptive Activation Function; constants of Keskinen 2024", params: params, rows: true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Mul(x, f.Sigmoid(threshold(f, x, p)))
			},
		},
		entry{
			name: "hard-ash", title: "hard adaptive swish" + doc, formula: "min(max(x, 0), 2)·min(max(alpha·(x − μ − z·σ_x) + 3, 0), 6)/6",
			derivative: "by the product rule, through μ and σ_x too", source: "Keskinen 2024, Hard ASH: Sparsity and the right optimizer make a continual learner",
			params: params, rows: true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				gate := f.times(1.0/6, f.clamp(f.plus(threshold(f, x, p), 3), 0, 6))
				return f.Mul(f.clamp(x, 0, 2), gate)
			},
		},
		entry{
			name: "crelu", title: "concatenated ReLU, two outputs per unit", formula: "[max(x, 0), max(−x, 0)]", derivative: "[1 for x > 0, else 0; −1 for x < 0, else 0]",
			source: "Shang et al. 2016; against loss of plasticity Abbas et al. 2023", outputs: 2, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Concat(f.ReLU(x), f.ReLU(f.Neg(x)))
			},
		},
		entry{
			name: "fourier", title: "deep Fourier features, two outputs per unit", formula: "[sin x, cos x]", derivative: "[cos x, −sin x]",
			source: "Lewandowski, Schuurmans & Machado 2024, Plastic Learning with Deep Fourier Features", outputs: 2, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Concat(f.Sin(x), f.Cos(x)) },
		},
	)
}
