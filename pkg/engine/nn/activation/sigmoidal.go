package activation

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Bounded functions: sigmoids, and bumps.
func init() {
	add(
		entry{
			name: "sigmoid", title: "logistic function σ", formula: "1/(1 + e⁻ˣ)", derivative: "σ·(1 − σ)",
			source: "Rumelhart, Hinton & Williams 1986", gain: gain(1),
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Sigmoid(x) },
		},
		entry{
			name: "tanh", title: "hyperbolic tangent", formula: "tanh x", derivative: "1 − tanh² x",
			source: "LeCun et al. 1998, Efficient BackProp", gain: gain(5.0 / 3),
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Tanh(x) },
		},
		entry{
			name: "scaled-tanh", title: "LeCun's tanh", formula: "a·tanh(b·x)", derivative: "a·b·(1 − tanh²(b·x))",
			source: "LeCun et al. 1998, Efficient BackProp",
			params: []component.Number{param("a", "limit at ∞", 1.7159, 1e-3, 100), param("b", "steepness", 2.0/3, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.times(p["a"], f.Tanh(f.times(p["b"], x)))
			},
		},
		entry{
			name: "bipolar-sigmoid", title: "sigmoid with limits ±1", formula: "(1 − e⁻ˣ)/(1 + e⁻ˣ) = tanh(x/2)", derivative: "(1 − tanh²(x/2))/2",
			source: "Kunc & Kléma 2024",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Tanh(f.times(0.5, x)) },
		},
		entry{
			name: "penalized-tanh", title: "penalised tanh", formula: "tanh x for x > 0, else a·tanh x", derivative: "(1 or a)·(1 − tanh² x)",
			source: "Xu, Huang & Li 2016", params: []component.Number{param("a", "factor below 0", 0.25, 0, 1)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.LeakyReLU(f.Tanh(x), float32(p["a"]))
			},
		},
		entry{
			name: "rectified-tanh", title: "rectified tanh", formula: "max(tanh x, 0)", derivative: "1 − tanh² x for x > 0, else 0",
			source: "Kunc & Kléma 2024",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.ReLU(f.Tanh(x)) },
		},
		entry{
			name: "softsign", title: "softsign", formula: "x/(1 + |x|)", derivative: "1/(1 + |x|)²",
			source: "Bergstra et al. 2009; torch.nn.Softsign",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Div(x, f.plus(f.Abs(x), 1)) },
		},
		entry{
			name: "elliott", title: "Elliott's sigmoid", formula: "x/(2·(1 + |x|)) + 1/2", derivative: "1/(2·(1 + |x|)²)",
			source: "Elliott 1993",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.plus(f.times(0.5, f.Div(x, f.plus(f.Abs(x), 1))), 0.5)
			},
		},
		entry{
			name: "isru", title: "inverse square root unit", formula: "x/√(1 + alpha·x²)", derivative: "(1 + alpha·x²)^(−3/2)",
			source: "Carlile et al. 2017", params: []component.Number{param("alpha", "limits are ±1/√α", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Div(x, f.Sqrt(f.plus(f.times(p["alpha"], f.Square(x)), 1)))
			},
		},
		entry{
			name: "rootsig", title: "rootsig", formula: "a·x/(1 + √(1 + a²·x²))", derivative: "a/(√(1 + a²x²)·(1 + √(1 + a²x²)))",
			source: "Duch & Jankowski 1999, Survey of neural transfer functions", params: []component.Number{param("a", "twice the slope at 0", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				z := f.times(p["a"], x)
				return f.Div(z, f.plus(f.Sqrt(f.plus(f.Square(z), 1)), 1))
			},
		},
		entry{
			name: "hexpo", title: "Hexpo", formula: "−a·(e^(−x/b) − 1) for x ≥ 0, else c·(e^(x/d) − 1)", derivative: "(a/b)·e^(−x/b) for x ≥ 0, else (c/d)·e^(x/d)",
			source: "Kong & Takatsuka 2017",
			params: []component.Number{
				param("a", "limit at ∞", 1, 1e-3, 100), param("b", "width above 0", 1, 1e-3, 100),
				param("c", "minus the limit at −∞", 1, 1e-3, 100), param("d", "width below 0", 1, 1e-3, 100),
			},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				up := f.Expm1(f.times(-1/p["b"], f.ReLU(x)))
				return f.Sub(f.times(p["c"], f.negExpm1(f.times(1/p["d"], x))), f.times(p["a"], up))
			},
		},
		entry{
			name: "log-sigmoid", title: "logarithm of the sigmoid", formula: "ln σ(x) = −ln(1 + e⁻ˣ)", derivative: "1 − σ",
			source: "torch.nn.LogSigmoid",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Neg(f.softplus(f.Neg(x))) },
		},
		entry{
			name: "log-log", title: "log-log", formula: "e^(−e⁻ˣ)", derivative: "e^(−x − e⁻ˣ)",
			source: "Gomes & Ludermir 2008",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Exp(f.Neg(f.Exp(f.above(f.below(f.Neg(x), 4.4), -100))))
			},
		},
		entry{
			name: "complementary-log-log", title: "complementary log-log", formula: "1 − e^(−e^x)", derivative: "e^(x − e^x)",
			source: "Gomes & Ludermir 2008",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Neg(f.Expm1(f.Neg(f.Exp(f.below(x, 4.4)))))
			},
		},
		entry{
			name: "modified-cloglog", title: "modified complementary log-log", formula: "1 − 2·e^(−0.7·e^x)", derivative: "1.4·e^(x − 0.7·e^x)",
			source: "Gomes, Ludermir & Lima 2011",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.minus(1, f.times(2, f.Exp(f.times(-0.7, f.Exp(f.below(x, 4.4))))))
			},
		},
		entry{
			name: "erf", title: "error function", formula: "erf x", derivative: "2/√π·e^(−x²)",
			source: "Kunc & Kléma 2024",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Erf(x) },
		},
		entry{
			name: "gaussian", title: "Gaussian bump", formula: "e^(−x²)", derivative: "−2x·e^(−x²)",
			source: "Broomhead & Lowe 1988",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Exp(f.Neg(f.Square(f.clamp(x, -9, 9))))
			},
		},
		entry{
			name: "sech", title: "hyperbolic secant", formula: "2/(eˣ + e⁻ˣ)", derivative: "−sech x·tanh x",
			source: "Kunc & Kléma 2024",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				e := f.Exp(f.Neg(f.below(f.Abs(x), 40)))
				return f.Div(f.times(2, e), f.plus(f.Square(e), 1))
			},
		},
		entry{
			name: "triangular", title: "triangular bump", formula: "max(1 − |x|, 0)", derivative: "−sign(x) for |x| < 1, else 0",
			source: "Kunc & Kléma 2024",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.ReLU(f.minus(1, f.Abs(x))) },
		},
		entry{
			name: "elephant", title: "Elephant", formula: "1/(1 + |x/a|^d)", derivative: "−(d/a)·sign(x)·|x/a|^(d−1)/(1 + |x/a|^d)²",
			source: "Lan & Mahmood 2023, Elephant Neural Networks",
			params: []component.Number{param("a", "half width of the bump", 1, 1e-3, 1e3), param("d", "steepness of its sides", 4, 1, 64)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Recip(f.plus(f.power(f.elephantWidth(x, p), p["d"]), 1))
			},
		},
	)
}

// elephantWidth returns |x/a|, up to where the d-th power is 10¹⁸: beyond, the
// function is 0 in comparison to 1.
func (f form) elephantWidth(x graph.Node, p component.Numbers) graph.Node {
	return f.below(f.Abs(f.times(1/p["a"], x)), tenToThe18(p["d"]))
}
