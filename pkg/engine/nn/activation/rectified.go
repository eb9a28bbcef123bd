package activation

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Piecewise linear and piecewise polynomial functions.
func init() {
	add(
		entry{
			name: "linear", title: "identity", formula: "x", derivative: "1",
			source: "Kunc & Kléma 2024, §3.1", gain: gain(1),
			of: func(_ form, x graph.Node, _ component.Numbers) graph.Node { return x },
		},
		entry{
			name: "relu", title: "rectified linear unit", formula: "max(x, 0)", derivative: "1 for x > 0, else 0",
			source: "Fukushima 1969; Nair & Hinton 2010", gain: gain(math.Sqrt2),
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.ReLU(x) },
		},
		entry{
			name: "leaky-relu", title: "leaky ReLU", formula: "x for x > 0, else slope·x", derivative: "1 for x ≥ 0, else slope",
			source: "Maas, Hannun & Ng 2013",
			params: []component.Number{param("slope", "slope below 0", 0.01, 0, 0.999)},
			gain: func(p component.Numbers) float64 {
				return math.Sqrt(2 / (1 + float64(p["slope"]*p["slope"])))
			},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node { return f.LeakyReLU(x, float32(p["slope"])) },
		},
		entry{
			name: "relu6", title: "ReLU that stops at 6", formula: "min(max(x, 0), 6)", derivative: "1 for 0 < x ≤ 6, else 0",
			source: "Krizhevsky 2010, Convolutional Deep Belief Networks on CIFAR-10",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.below(f.ReLU(x), 6) },
		},
		entry{
			name: "bounded-relu", title: "bounded ReLU", formula: "min(max(x, 0), bound)", derivative: "1 for 0 < x ≤ bound, else 0",
			source: "Liew, Khalil-Hani & Bakhteri 2016",
			params: []component.Number{param("bound", "largest output", 1, 1e-3, 1e3)},
			of:     func(f form, x graph.Node, p component.Numbers) graph.Node { return f.below(f.ReLU(x), p["bound"]) },
		},
		entry{
			name: "bounded-leaky-relu", title: "bounded leaky ReLU",
			formula:    "slope·x for x < 0; x up to bound; slope·x + (1−slope)·bound beyond",
			derivative: "1 for 0 ≤ x ≤ bound, else slope", source: "Liew, Khalil-Hani & Bakhteri 2016",
			params: []component.Number{
				param("slope", "slope outside of [0, bound]", 0.01, 0, 0.999), param("bound", "where the slope falls again", 1, 1e-3, 1e3),
			},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				a, bound := p["slope"], p["bound"]
				return f.Add(f.times(a, x), f.times(1-a, f.below(f.ReLU(x), bound)))
			},
		},
		entry{
			name: "s-shaped-relu", title: "S-shaped ReLU",
			formula:    "left + left_slope·(x−left) below left; x up to right; right + right_slope·(x−right) beyond",
			derivative: "left_slope, 1, right_slope", source: "Jin et al. 2016, SReLU; thresholds and slopes fixed",
			params: []component.Number{
				param("left", "lower threshold", 0, -1e3, 1e3), param("left_slope", "slope below it", 0.2, -10, 10),
				param("right", "upper threshold, above left", 1, -1e3, 1e3), param("right_slope", "slope above it", 0.2, -10, 10),
			},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				l, r := p["left"], p["right"]
				below := f.times(p["left_slope"], f.plus(f.below(x, l), -l))
				beyond := f.times(p["right_slope"], f.plus(f.above(x, r), -r))
				return f.Add(f.clamp(x, l, r), f.Add(below, beyond))
			},
		},
		entry{
			name: "shifted-relu", title: "shifted ReLU", formula: "max(x, −shift)", derivative: "1 for x ≥ −shift, else 0",
			source: "Clevert, Unterthiner & Hochreiter 2016 (shift 1)",
			params: []component.Number{param("shift", "how far below 0 it goes", 1, 0, 1e3)},
			of:     func(f form, x graph.Node, p component.Numbers) graph.Node { return f.above(x, -p["shift"]) },
		},
		entry{
			name: "absolute", title: "absolute value", formula: "|x|", derivative: "sign(x)",
			source: "Karnewar 2018, AANN: Absolute Artificial Neural Network",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Abs(x) },
		},
		entry{
			name: "threshold", title: "threshold", formula: "x for x > threshold, else value", derivative: "1 for x > threshold, else 0",
			source: "Konda, Memisevic & Krueger 2015 (thresholded linear); torch.nn.Threshold",
			params: []component.Number{param("threshold", "below it the output is constant", 1, -1e3, 1e3), param("value", "that constant", 0, -1e3, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.where(x, p["threshold"], x, f.Fill(float32(p["value"]), x.Shape()))
			},
		},
		entry{
			name: "hard-shrink", title: "hard shrinkage", formula: "x for |x| > lambda, else 0", derivative: "1 for |x| > lambda, else 0",
			source: "Donoho & Johnstone 1994; torch.nn.Hardshrink",
			params: []component.Number{param("lambda", "λ: half width of what is 0", 0.5, 0, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.where(f.Abs(x), p["lambda"], x, f.Fill(0, x.Shape()))
			},
		},
		entry{
			name: "soft-shrink", title: "soft shrinkage", formula: "sign(x)·max(|x| − lambda, 0)", derivative: "1 for |x| > lambda, else 0",
			source: "Donoho & Johnstone 1994; torch.nn.Softshrink",
			params: []component.Number{param("lambda", "λ: half width of what is 0", 0.5, 0, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.Sub(f.ReLU(f.plus(x, -p["lambda"])), f.ReLU(f.Neg(f.plus(x, p["lambda"]))))
			},
		},
		entry{
			name: "hard-tanh", title: "hard tanh", formula: "min(max(x, −1), 1)", derivative: "1 for −1 ≤ x ≤ 1, else 0",
			source: "Collobert 2004; torch.nn.Hardtanh",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.clamp(x, -1, 1) },
		},
		entry{
			name: "hard-sigmoid", title: "hard sigmoid", formula: "min(max(x/6 + 1/2, 0), 1)", derivative: "1/6 for −3 ≤ x ≤ 3, else 0",
			source: "Courbariaux, Bengio & David 2015; as torch.nn.Hardsigmoid",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.clamp(f.plus(f.times(1.0/6, x), 0.5), 0, 1)
			},
		},
		entry{
			name: "squared-relu", title: "squared ReLU", formula: "max(x, 0)²", derivative: "2·max(x, 0)",
			source: "So et al. 2021, Primer",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Square(f.ReLU(x)) },
		},
		entry{
			name: "repu", title: "rectified power unit", formula: "max(x, 0)^power", derivative: "power·max(x, 0)^(power−1)",
			source: "Li, Tang & Yu 2019",
			params: []component.Number{param("power", "of the positive part", 3, 1, 8)},
			of:     func(f form, x graph.Node, p component.Numbers) graph.Node { return f.power(f.ReLU(x), p["power"]) },
		},
		entry{
			name: "star-relu", title: "StarReLU", formula: "scale·max(x, 0)² + bias", derivative: "2·scale·max(x, 0)",
			source: "Yu et al. 2022, MetaFormer Baselines for Vision; the constants of its start",
			params: []component.Number{param("scale", "s", 0.8944, 0, 1e3), param("bias", "b", -0.4472, -1e3, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				return f.plus(f.times(p["scale"], f.Square(f.ReLU(x))), p["bias"])
			},
		},
		entry{
			name: "smelu", title: "smooth ReLU", formula: "0 for x ≤ −beta; (x+beta)²/(4·beta) up to beta; x beyond",
			derivative: "0; (x+beta)/(2·beta); 1", source: "Shamir, Lin & Coviello 2020, Smooth activations and reproducibility",
			params: []component.Number{param("beta", "half width of the quadratic piece", 1, 1e-3, 1e3)},
			of: func(f form, x graph.Node, p component.Numbers) graph.Node {
				beta := p["beta"]
				piece := f.Square(f.plus(f.clamp(x, -beta, beta), beta))
				return f.Add(f.times(1/(4*beta), piece), f.ReLU(f.plus(x, -beta)))
			},
		},
		entry{
			name: "sqnl", title: "square nonlinearity", formula: "x − x·|x|/4 for |x| ≤ 2, else sign(x)", derivative: "1 − |x|/2 for |x| ≤ 2, else 0",
			source: "Wuraola & Patel 2018",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				z := f.clamp(x, -2, 2)
				return f.Sub(z, f.times(0.25, f.Mul(z, f.Abs(z))))
			},
		},
		entry{
			name: "squ", title: "shifted quadratic unit", formula: "x² + x", derivative: "2x + 1",
			source: "Noel, Trivedi & Dutta 2021, Growing Cosine Unit",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.plus(x, 1)) },
		},
		entry{
			name: "ncu", title: "non-monotonic cubic unit", formula: "x − x³", derivative: "1 − 3x²",
			source: "Noel, Trivedi & Dutta 2021, Growing Cosine Unit",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.minus(1, f.Square(x))) },
		},
		entry{
			name: "cubic", title: "cube", formula: "x³", derivative: "3x²",
			source: "Kunc & Kléma 2024, polynomial functions",
			of:     func(f form, x graph.Node, _ component.Numbers) graph.Node { return f.Mul(x, f.Square(x)) },
		},
		entry{
			name: "hard-swish", title: "hard swish", formula: "x·min(max(x+3, 0), 6)/6", derivative: "0 for x ≤ −3; (2x+3)/6 up to 3; 1 beyond",
			source: "Howard et al. 2019, MobileNetV3",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.times(1.0/6, f.clamp(f.plus(x, 3), 0, 6)))
			},
		},
		entry{
			name: "hard-mish", title: "hard mish", formula: "x·min(max(x+2, 0), 2)/2", derivative: "0 for x ≤ −2; x + 1 up to 0; 1 beyond",
			source: "Jaden, YOLO with HardMish, in Kunc & Kléma 2024",
			of: func(f form, x graph.Node, _ component.Numbers) graph.Node {
				return f.Mul(x, f.times(0.5, f.clamp(f.plus(x, 2), 0, 2)))
			},
		},
	)
}
