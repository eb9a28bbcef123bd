package activation

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// The argument times a gate that opens with it: swish, GELU, mish and their
// kin.
func init() {
	swish := func(f form, x graph.Node, beta float64) graph.Node { return f.Mul(x, f.Sigmoid(f.times(beta, x))) }
	add(
		entry{
			name: "silu", title: "sigmoid linear unit", formula: "x·σ(x)", derivative: "σ + x·σ·(1−σ)",
			source: "Elfwing, Uchibe & Doya 2018; torch.nn.SiLU",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Sigmoid(x)) },
		},
		entry{
			name: "swish", title: "swish", formula: "x·σ(beta·x)", derivative: "σ + beta·x·σ·(1−σ), σ at beta·x",
			source: "Ramachandran, Zoph & Le 2017; β fixed", params: []component.Number{param("beta", "β: sharpness of the gate", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return swish(f, x, p["beta"]) },
		},
		entry{
			name: "e-swish", title: "E-swish", formula: "beta·x·σ(x)", derivative: "beta·(σ + x·σ·(1−σ))",
			source: "Alcaide 2018", params: []component.Number{param("beta", "β: factor", 1.5, 0.1, 10)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return f.times(p["beta"], swish(f, x, 1)) },
		},
		entry{
			name: "quick-gelu", title: "GELU by a sigmoid", formula: "x·σ(1.702·x)", derivative: "σ + 1.702x·σ·(1−σ), σ at 1.702x",
			source: "Hendrycks & Gimpel 2016",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return swish(f, x, 1.702) },
		},
		entry{
			name: "gelu", title: "Gaussian error linear unit", formula: "x·Φ(x) = x·(1 + erf(x/√2))/2", derivative: "Φ(x) + x·φ(x)",
			source: "Hendrycks & Gimpel 2016; torch.nn.GELU",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.gelu(x) },
		},
		entry{
			name: "gelu-tanh", title: "GELU by a tanh", formula: "x·(1 + t)/2, t = tanh(√(2/π)·(x + 0.044715·x³))",
			derivative: "(1 + t)/2 + x·(1 − t²)/2·√(2/π)·(1 + 0.134145·x²)", source: "Hendrycks & Gimpel 2016; torch.nn.GELU(approximate=tanh)",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				z := f.clamp(x, -50, 50) // the gate is shut or open long before
				u := f.Mul(f.times(math.Sqrt(2/math.Pi), z), f.plus(f.times(0.044715, f.Square(z)), 1))
				return f.Mul(x, f.times(0.5, f.plus(f.Tanh(u), 1)))
			},
		},
		entry{
			name: "sgelu", title: "symmetrical GELU", formula: "alpha·x·erf(x/√2)", derivative: "alpha·(erf(x/√2) + x·√(2/π)·e^(−x²/2))",
			source: "Yu & Su 2019", params: []component.Number{param("alpha", "factor", 1, 1e-3, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.times(p["alpha"], f.Mul(x, f.Erf(f.times(math.Sqrt2/2, x))))
			},
		},
		entry{
			name: "mish", title: "mish", formula: "x·tanh(s), s = ln(1 + eˣ)", derivative: "tanh s + x·σ(x)·(1 − tanh² s)",
			source: "Misra 2019; torch.nn.Mish",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Tanh(f.softplus(x))) },
		},
		entry{
			name: "serf", title: "Serf", formula: "x·erf(s), s = ln(1 + eˣ)", derivative: "erf s + x·σ(x)·2/√π·e^(−s²)",
			source: "Nag et al. 2023",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Erf(f.softplus(x))) },
		},
		entry{
			name: "erf-act", title: "ErfAct", formula: "x·erf(alpha·e^(beta·x))", derivative: "erf(u) + beta·x·u·2/√π·e^(−u²), u = alpha·e^(beta·x)",
			source: "Biswas et al. 2022; parameters fixed",
			params: []component.Number{param("alpha", "α", 0.75, 1e-2, 10), param("beta", "β", 0.75, 1e-2, 10)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				u := f.times(p["alpha"], f.Exp(f.below(f.times(p["beta"], x), 7)))
				return f.Mul(x, f.Erf(u))
			},
		},
		entry{
			name: "pserf", title: "Pserf", formula: "x·erf(gamma·ln(1 + e^(delta·x)))", derivative: "erf(u) + x·gamma·delta·σ(delta·x)·2/√π·e^(−u²), u = gamma·ln(1 + e^(delta·x))",
			source: "Biswas et al. 2022; parameters fixed",
			params: []component.Number{param("gamma", "γ", 1.25, 1e-2, 10), param("delta", "δ", 0.85, 1e-2, 10)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Mul(x, f.Erf(f.times(p["gamma"], f.softplus(f.times(p["delta"], x)))))
			},
		},
		entry{
			name: "tanh-exp", title: "TanhExp (TeLU)", formula: "x·tanh(eˣ)", derivative: "tanh(eˣ) + x·eˣ·(1 − tanh²(eˣ))",
			source: "Liu & Di 2020",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Tanh(f.Exp(f.below(x, 5))))
			},
		},
		entry{
			name: "smish", title: "Smish", formula: "x·tanh(u), u = ln(1 + σ(x))", derivative: "tanh u + x·(1 − tanh² u)·σ·(1−σ)/(1 + σ)",
			source: "Wang et al. 2022",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Tanh(f.Log1p(f.Sigmoid(x))))
			},
		},
		entry{
			name: "logish", title: "Logish", formula: "x·ln(1 + σ(x))", derivative: "ln(1 + σ) + x·σ·(1−σ)/(1 + σ)",
			source: "Zhu et al. 2021",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Log1p(f.Sigmoid(x)))
			},
		},
		entry{
			name: "loglogish", title: "LogLogish", formula: "x·(1 − e^(−e^x))", derivative: "1 − e^(−e^x) + x·e^(x − e^x)",
			source: "Kunc & Kléma 2024",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Neg(f.Expm1(f.Neg(f.Exp(f.below(x, 4.4))))))
			},
		},
		entry{
			name: "gish", title: "Gish", formula: "x·ln(2 − e^(−e^x))", derivative: "ln(u) + x·e^(x − e^x)/u, u = 2 − e^(−e^x)",
			source: "Kaytan, Aydilek & Yeroğlu 2023",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Log1p(f.Neg(f.Expm1(f.Neg(f.Exp(f.below(x, 4.4)))))))
			},
		},
		entry{
			name: "phish", title: "Phish", formula: "x·tanh(gelu(x))", derivative: "tanh g + x·(1 − tanh² g)·g′, g = gelu(x)",
			source: "Naveen 2022",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Tanh(f.gelu(x))) },
		},
		entry{
			name: "ts-relu", title: "tanh of the sigmoid", formula: "x·tanh(σ(x))", derivative: "tanh σ + x·(1 − tanh² σ)·σ·(1−σ)",
			source: "Kunc & Kléma 2024, TSReLU",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Tanh(f.Sigmoid(x))) },
		},
		entry{
			name: "tbs-relu", title: "tanh of the bipolar sigmoid", formula: "x·tanh(b), b = (1 − e⁻ˣ)/(1 + e⁻ˣ)", derivative: "tanh b + x·(1 − tanh² b)·(1 − b²)/2",
			source: "Kunc & Kléma 2024, TBSReLU",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Tanh(f.Tanh(f.times(0.5, x))))
			},
		},
		entry{
			name: "lisht", title: "linearly scaled tanh", formula: "x·tanh x", derivative: "tanh x + x·(1 − tanh² x)",
			source: "Roy et al. 2019",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Tanh(x)) },
		},
		entry{
			name: "tanh-shrink", title: "tanh shrinkage", formula: "x − tanh x", derivative: "tanh² x",
			source: "torch.nn.Tanhshrink",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Sub(x, f.Tanh(x)) },
		},
		entry{
			name: "dsilu", title: "derivative of SiLU", formula: "σ·(1 + x·(1 − σ))", derivative: "σ·(1−σ)·(2 + x·(1 − 2σ))",
			source: "Elfwing, Uchibe & Doya 2018",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(f.Sigmoid(x), f.plus(f.Mul(x, f.Sigmoid(f.Neg(x))), 1))
			},
		},
		entry{
			name: "bsilu", title: "bounded SiLU", formula: "(x + alpha)·σ(x) − alpha/2", derivative: "σ + (x + alpha)·σ·(1−σ)",
			source: "Kunc & Kléma 2024", params: []component.Number{param("alpha", "α: twice minus the limit at −∞", 1.67, 0, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.plus(f.Mul(f.plus(x, p["alpha"]), f.Sigmoid(x)), -p["alpha"]/2)
			},
		},
		entry{
			name: "eanaf", title: "EANAF", formula: "x·eˣ/(eˣ + 2) = x·σ(x − ln 2)", derivative: "σ + x·σ·(1−σ), σ at x − ln 2",
			source: "Chai et al. 2022",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Sigmoid(f.plus(x, -math.Ln2)))
			},
		},
		entry{
			name: "soft-root-sign", title: "soft root sign", formula: "x/(x/alpha + e^(−x/beta))", derivative: "(1 + x/beta)·e^(−x/beta)/(x/alpha + e^(−x/beta))²",
			source: "Zhou, Li & Zheng 2020; parameters fixed",
			params: []component.Number{param("alpha", "α: limit at ∞; above beta/e, so that nothing is divided by 0", 2, 1e-2, 100), param("beta", "β", 3, 1e-2, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				z := f.below(f.times(-1/p["beta"], x), 40)
				return f.Div(x, f.Add(f.times(1/p["alpha"], x), f.Exp(z)))
			},
		},
		entry{
			name: "sinlu", title: "sinu-sigmoidal linear unit", formula: "(x + a·sin(b·x))·σ(x)", derivative: "(1 + a·b·cos(b·x))·σ + (x + a·sin(b·x))·σ·(1−σ)",
			source: "Paul et al. 2022; parameters fixed",
			params: []component.Number{param("a", "amplitude", 1, 0, 100), param("b", "frequency", 1, 0, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Mul(f.Add(x, f.times(p["a"], f.Sin(f.times(p["b"], x)))), f.Sigmoid(x))
			},
		},
		entry{
			name: "coslu", title: "cosinu-sigmoidal linear unit", formula: "(x + a·cos(b·x))·σ(x)", derivative: "(1 − a·b·sin(b·x))·σ + (x + a·cos(b·x))·σ·(1−σ)",
			source: "Kunc & Kléma 2024; parameters fixed",
			params: []component.Number{param("a", "amplitude", 1, 0, 100), param("b", "frequency", 1, 0, 100)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Mul(f.Add(x, f.times(p["a"], f.Cos(f.times(p["b"], x)))), f.Sigmoid(x))
			},
		},
		entry{
			name: "sin-sig", title: "SinSig", formula: "x·sin(π/2·σ(x))", derivative: "sin(u) + x·π/2·σ·(1−σ)·cos(u), u = π/2·σ(x)",
			source: "Douge et al. 2023",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.Sin(f.times(math.Pi/2, f.Sigmoid(x))))
			},
		},
	)
}
