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
	winners := param("k", "how many units win, a whole number", 4, 1, 1<<20)
	largest := func(f form, x graph.Node, p component.Numbers) graph.Node {
		return f.TopK(x, min(int(p["k"]), x.Shape()[len(x.Shape())-1]))
	}
	add(
		entry{
			name: "ash", title: "adaptive swish", formula: "x·σ(alpha·(x − μ − z·σ_x)), μ and σ_x the example's in the layer", derivative: "by the product rule, through μ and σ_x too",
			source: "Lee et al. 2022, Stochastic Adaptive Activation Function; constants of Keskinen 2024", params: params, rows: true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Mul(x, f.Sigmoid(threshold(f, x, p)))
			},
		},
		entry{
			name: "hard-ash", title: "hard adaptive swish", formula: "min(max(x, 0), 2)·min(max(alpha·(x − μ − z·σ_x) + 3, 0), 6)/6, μ and σ_x the example's in the layer",
			derivative: "by the product rule, through μ and σ_x too", source: "Keskinen 2024, Hard ASH: Sparsity and the right optimizer make a continual learner",
			params: params, rows: true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				gate := f.times(1.0/6, f.clamp(f.plus(threshold(f, x, p), 3), 0, 6))
				return f.Mul(f.clamp(x, 0, 2), gate)
			},
		},
		entry{
			name: "top-k", title: "k winners take all", formula: "x for the k largest of the example's units in the layer, else 0", derivative: "1 for the k largest, else 0",
			source: "Majani, Erlanson & Abu-Mostafa 1989; Xiao, Zhong & Zheng 2020", params: []component.Number{winners}, rows: true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return f.Mul(x, largest(f, x, p)) },
		},
		entry{
			name: "top-k-subtract", title: "k winners take all, less the last of them", formula: "max(x − v, 0), v the k-th largest of the example's units in the layer", derivative: "1 for units above v, and −1 for each of them at the unit that is v",
			source: "Ahmad & Scheinkman 2019; as in Keskinen 2024", params: []component.Number{winners}, rows: true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				others := f.Fill(3e38, x.Shape())
				last := f.Neg(f.MaxRows(f.Neg(f.Select(largest(f, x, p), x, others))))
				return f.ReLU(f.Sub(x, last))
			},
		},
		entry{
			name: "local-winner", title: "local winner takes all", formula: "x for the largest of each group of size units next to each other, else 0", derivative: "1 for the largest, else 0",
			source: "Srivastava et al. 2013, Compete to Compute",
			params: []component.Number{param("size", "units of a group, a whole number; the last group may be smaller", 2, 1, 1<<20)},
			rows:   true, gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				size, units := int(p["size"]), x.Shape()[len(x.Shape())-1]
				missing := (size - units%size) % size
				rows := x.Shape().Elems() / units
				in := f.Reshape(x, rows, units)
				if missing > 0 {
					in = f.Concat(in, f.Fill(-3e38, []int{rows, missing}))
				}
				mask := f.ArgMax(f.Reshape(in, rows, (units+missing)/size, size))
				mask = f.Slice(f.Reshape(mask, rows, units+missing), 0, units)
				return f.Mul(x, f.Reshape(mask, x.Shape()...))
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
