package activation

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Linear above 0 and bent below it: exponential linear units, softplus and
// their kin.
func init() {
	alpha := func(def float64) component.Number {
		return param("alpha", "α: limit at −∞ is −α", def, 0, 100)
	}
	elu := func(f form, x graph.Node, a, beta float64) graph.Node {
		return f.Add(f.ReLU(x), f.times(a, f.negExpm1(f.times(beta, x))))
	}
	add(
		entry{
			name: "elu", title: "exponential linear unit", formula: "x for x > 0, else alpha·(eˣ − 1)", derivative: "1 for x > 0, else alpha·eˣ",
			source: "Clevert, Unterthiner & Hochreiter 2016", params: []component.Number{alpha(1)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return elu(f, x, p["alpha"], 1) },
		},
		entry{
			name: "celu", title: "continuously differentiable ELU", formula: "x for x > 0, else alpha·(e^(x/alpha) − 1)", derivative: "1 for x > 0, else e^(x/alpha)",
			source: "Barron 2017", params: []component.Number{param("alpha", "α: limit at −∞ is −α", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return elu(f, x, p["alpha"], 1/p["alpha"]) },
		},
		entry{
			name: "selu", title: "self-normalising ELU", formula: "λ·x for x > 0, else λ·α·(eˣ − 1); λ = 1.0507, α = 1.67326", derivative: "λ for x > 0, else λ·α·eˣ",
			source: "Klambauer et al. 2017", gain: gain(0.75),
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.times(1.0507009873554805, elu(f, x, 1.6732632423543772, 1))
			},
		},
		entry{
			name: "mpelu", title: "multiple parametric ELU", formula: "x for x > 0, else alpha·(e^(beta·x) − 1)", derivative: "1 for x > 0, else alpha·beta·e^(beta·x)",
			source: "Li et al. 2018; parameters fixed", params: []component.Number{alpha(0.25), param("beta", "β: steepness below 0", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return elu(f, x, p["alpha"], p["beta"]) },
		},
		entry{
			name: "pelu", title: "parametric ELU", formula: "(a/b)·x for x > 0, else a·(e^(x/b) − 1)", derivative: "a/b for x > 0, else (a/b)·e^(x/b)",
			source: "Trottier, Giguère & Chaib-draa 2017; parameters fixed",
			params: []component.Number{param("a", "limit at −∞ is −a", 1, 1e-3, 100), param("b", "width below 0", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				a, b := p["a"], p["b"]
				return f.Add(f.times(a/b, f.ReLU(x)), f.times(a, f.negExpm1(f.times(1/b, x))))
			},
		},
		entry{
			name: "elish", title: "exponential linear squashing", formula: "x·σ(x) for x > 0, else (eˣ − 1)·σ(x)",
			derivative: "σ + x·σ·(1−σ) for x > 0, else eˣ·σ + (eˣ−1)·σ·(1−σ)", source: "Basirat & Roth 2018",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(elu(f, x, 1, 1), f.Sigmoid(x))
			},
		},
		entry{
			name: "hard-elish", title: "hard ELiSH", formula: "(x for x > 0, else eˣ − 1)·min(max((x+1)/2, 0), 1)",
			derivative: "by the product rule, 1/2 in the second factor for −1 ≤ x ≤ 1", source: "Basirat & Roth 2018",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(elu(f, x, 1, 1), f.clamp(f.plus(f.times(0.5, x), 0.5), 0, 1))
			},
		},
		entry{
			name: "isrlu", title: "inverse square root linear unit", formula: "x for x > 0, else x/√(1 + alpha·x²)", derivative: "1 for x > 0, else (1 + alpha·x²)^(−3/2)",
			source: "Carlile et al. 2017", params: []component.Number{param("alpha", "limit at −∞ is −1/√α", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				neg := f.below(x, 0)
				return f.Add(f.ReLU(x), f.Div(neg, f.Sqrt(f.plus(f.times(p["alpha"], f.Square(neg)), 1))))
			},
		},
		entry{
			name: "softplus", title: "softplus", formula: "ln(1 + e^(beta·x))/beta", derivative: "σ(beta·x)",
			source: "Dugas et al. 2001; torch.nn.Softplus", params: []component.Number{param("beta", "β: sharpness", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.times(1/p["beta"], f.softplus(f.times(p["beta"], x)))
			},
		},
		entry{
			name: "shifted-softplus", title: "softplus through the origin", formula: "ln(1 + eˣ) − ln 2", derivative: "σ(x)",
			source: "Schütt et al. 2017, SchNet",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.plus(f.softplus(x), -math.Ln2) },
		},
		entry{
			name: "softplus-linear", title: "softplus linear unit", formula: "alpha·x for x > 0, else beta·ln(1 + eˣ) − gamma", derivative: "alpha for x > 0, else beta·σ(x)",
			source: "Zhao, Liu, Li & Li 2018, SLU",
			params: []component.Number{
				param("alpha", "slope above 0", 1, 0, 100), param("beta", "scale below 0", 2, 0, 100),
				param("gamma", "shift below 0; 2·ln 2 makes it continuous", 2*math.Ln2, 0, 100),
			},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				neg := f.plus(f.times(p["beta"], f.softplus(f.below(x, 0))), -p["gamma"])
				return f.where(x, 0, f.times(p["alpha"], x), neg)
			},
		},
		entry{
			name: "squareplus", title: "squareplus", formula: "(x + √(x² + b))/2", derivative: "(1 + x/√(x² + b))/2",
			source: "Barron 2021", params: []component.Number{param("b", "width of the bend; 0 is ReLU", 4, 1e-6, 1e4)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				// For x < 0 the sum cancels: (√(x²+b) + x)/2 = (b/2)/(√(x²+b) − x).
				root := f.Sqrt(f.plus(f.Square(x), p["b"]))
				return f.Add(f.ReLU(x), f.Div(f.c(p["b"]/2), f.Add(root, f.Abs(x))))
			},
		},
		entry{
			name: "bent-identity", title: "bent identity", formula: "(√(x² + 1) − 1)/2 + x", derivative: "x/(2·√(x² + 1)) + 1",
			source: "Kunc & Kléma 2024",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Add(f.times(0.5, f.plus(f.Sqrt(f.plus(f.Square(x), 1)), -1)), x)
			},
		},
		entry{
			name: "natural-log-relu", title: "natural logarithm ReLU", formula: "ln(beta·max(x, 0) + 1)", derivative: "beta/(beta·x + 1) for x > 0, else 0",
			source: "Liu et al. 2019, NLReLU", params: []component.Number{param("beta", "β: slope at 0", 1, 1e-3, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Log1p(f.times(p["beta"], f.ReLU(x)))
			},
		},
		entry{
			name: "apalu", title: "approximate piecewise adaptive linear unit", formula: "a·(x + x·σ(1.702x)) for x ≥ 0, else b·(eˣ − 1)",
			derivative: "a·(1 + σ + 1.702x·σ·(1−σ)) for x ≥ 0, else b·eˣ", source: "Subramanian et al. 2024; parameters fixed",
			params: []component.Number{param("a", "scale above 0", 0.55, 0, 100), param("b", "scale below 0", 0.065, 0, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				pos := f.ReLU(x)
				pos = f.times(p["a"], f.Mul(pos, f.plus(f.Sigmoid(f.times(1.702, x)), 1)))
				return f.Add(pos, f.times(p["b"], f.negExpm1(x)))
			},
		},
		entry{
			name: "suish", title: "Suish", formula: "max(x, x·e^(−|x|))", derivative: "1 for x ≥ 0, else (1 + x)·eˣ",
			source: "Suárez-Paniagua et al., in Kunc & Kléma 2024",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				neg := f.below(x, 0)
				return f.Add(f.ReLU(x), f.Mul(neg, f.Exp(neg)))
			},
		},
	)
}
