package activation

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Functions with sines and cosines, and symmetric logarithms.
func init() {
	add(
		entry{
			name: "sine", title: "sine", formula: "sin(omega·x)", derivative: "omega·cos(omega·x)",
			source: "Sitzmann et al. 2020, SIREN (ω = 30 in its first layer)",
			params: []component.Number{param("omega", "ω: frequency", 1, 1e-3, 1e3)},
			of:     func(f form, x graph.Node, p component.Numbers) graph.Node { return f.Sin(f.times(p["omega"], x)) },
		},
		entry{
			name: "cosine", title: "cosine", formula: "cos x", derivative: "−sin x",
			source: "Kunc & Kléma 2024",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Cos(x) },
		},
		entry{
			name: "sinc", title: "sinc", formula: "sin(x)/x, 1 at 0", derivative: "(x·cos x − sin x)/x², 0 at 0",
			source: "Kunc & Kléma 2024",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.sinc(x) },
		},
		entry{
			name: "snake", title: "snake", formula: "x + sin²(a·x)/a", derivative: "1 + sin(2a·x)",
			source: "Ziyin, Hartwig & Ueda 2020", params: []component.Number{param("a", "frequency", 1, 1e-3, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Add(x, f.times(1/p["a"], f.Square(f.Sin(f.times(p["a"], x)))))
			},
		},
		entry{
			name: "gcu", title: "growing cosine unit", formula: "x·cos x", derivative: "cos x − x·sin x",
			source: "Noel, Trivedi & Dutta 2021",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Cos(x)) },
		},
		entry{
			name: "dsu", title: "decaying sine unit", formula: "π/2·(sinc(x−π) − sinc(x+π))", derivative: "π/2·(sinc′(x−π) − sinc′(x+π))",
			source: "Noel, Trivedi & Dutta 2021",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.times(math.Pi/2, f.Sub(f.sinc(f.plus(x, -math.Pi)), f.sinc(f.plus(x, math.Pi))))
			},
		},
		entry{
			name: "ssu", title: "shifted sinc unit", formula: "π·sinc(x−π)", derivative: "π·sinc′(x−π)",
			source: "Noel, Trivedi & Dutta 2021",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.times(math.Pi, f.sinc(f.plus(x, -math.Pi)))
			},
		},
		entry{
			name: "cosid", title: "cosine minus identity", formula: "cos x − x", derivative: "−sin x − 1",
			source: "Eger, Youssef & Gurevych 2018",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Sub(f.Cos(x), x) },
		},
		entry{
			name: "minsin", title: "minsin", formula: "min(x, sin x)", derivative: "1 for x < 0, cos x for x > 0",
			source: "Eger, Youssef & Gurevych 2018",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Min(x, f.Sin(x)) },
		},
		entry{
			name: "symmetric-log", title: "symmetric logarithm", formula: "sign(x)·ln(1 + |x|)", derivative: "1/(1 + |x|)",
			source: "Bilski 2000, in Kunc & Kléma 2024",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				// Two halves, so that the slope at 0 is 1 and not sign(0)².
				return f.Sub(f.Log1p(f.above(x, 0)), f.Log1p(f.ReLU(f.Neg(x))))
			},
		},
	)
}
