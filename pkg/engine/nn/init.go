package nn

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
)

// Distribution is what a parameter's elements are drawn from, independently of
// each other. The zero Distribution is the constant 0.
type Distribution struct {
	Mean    float32 // alone, a constant
	Uniform float32 // half width of a uniform distribution around the mean
	Normal  float32 // standard deviation of a normal distribution around the mean
	// Truncated cuts the normal distribution off at ±2 standard deviations.
	Truncated bool
	// Zeros is the probability of an element to be 0 instead.
	Zeros float32
}

// Fill draws every element of dst; element i of the draw numbered a depends on
// the key, a and i only.
func (d Distribution) Fill(dst []float32, key rng.Key, a uint64) {
	switch {
	case d.Uniform != 0:
		key.FillUniform(dst, d.Mean-d.Uniform, d.Mean+d.Uniform, a)
	case d.Normal != 0:
		key.FillNormal(dst, a)
		if d.Truncated {
			redrawTails(dst, key, a)
		}
		for i := range dst {
			dst[i] = float32(dst[i]*d.Normal) + d.Mean
		}
	default:
		for i := range dst {
			dst[i] = d.Mean
		}
	}
	if d.Zeros > 0 {
		for i := range dst {
			if key.Float32(^a, uint64(i)) < d.Zeros {
				dst[i] = 0
			}
		}
	}
}

// redrawTails draws elements beyond ±2 again until they are within.
func redrawTails(dst []float32, key rng.Key, a uint64) {
	var one [1]float32
	for i, v := range dst {
		for try := uint64(1); v < -2 || v > 2; try++ {
			key.FillNormal(one[:], mix(mix(a)+uint64(i))+try)
			v = one[0]
		}
		dst[i] = v
	}
}

// mix spreads the bits of a counter (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// truncatedDeviation is the standard deviation of a standard normal variable
// that is cut off at ±2.
const truncatedDeviation = 0.87962566103423978

// StdDev returns the standard deviation, zeros left out.
func (d Distribution) StdDev() float32 {
	switch {
	case d.Uniform != 0:
		return float32(float64(d.Uniform) / math.Sqrt(3))
	case d.Truncated:
		return float32(float64(d.Normal) * truncatedDeviation)
	}
	return d.Normal
}

// Init is an initialiser of a network's weights and biases. In a spec it is a
// name, or an object where parameters differ from their defaults:
//
//	init: kaiming-uniform
//	init: {kind: orthogonal, gain: 1}
type Init struct{ resolved *resolvedInit }

type resolvedInit = component.Resolved[struct{}, initialiser]

// initialiser says how the weights and biases of a layer begin.
type initialiser func(l initLayer) (weight, bias start)

// initLayer is a layer whose parameters are to be made.
type initLayer struct {
	in, out int     // axes of the weights [in][out]
	places  int     // of the window of a convolution, whose in is places·channels; else 1
	fanIn   int     // inputs of a unit
	fanOut  int     // outputs that an input has a part in
	gain    float64 // of the activation behind the layer
	hidden  bool    // no output layer
}

// start is what a parameter's elements are at the start: draws of the
// distribution, or where they depend on each other what fill says.
type start struct {
	Distribution
	fill func(dst []float32, key rng.Key, a uint64)
}

func (s start) fillInto(dst []float32, key rng.Key, a uint64) {
	if s.fill != nil {
		s.fill(dst, key, a)
		return
	}
	s.Fill(dst, key, a)
}

// NamedInit returns the initialiser of that name with its default parameters.
// It panics if there is none.
func NamedInit(name string) Init {
	r, err := inits.Resolve("init", map[string]any{"kind": name})
	if err != nil {
		panic(err)
	}
	return Init{r}
}

// Inits returns the names of all initialisers, sorted.
func Inits() []string { return inits.Names() }

// UnmarshalJSON implements [json.Unmarshaler].
func (i *Init) UnmarshalJSON(b []byte) (err error) {
	i.resolved, err = inits.ResolveJSON(b)
	return err
}

// MarshalJSON implements [json.Marshaler].
func (i Init) MarshalJSON() ([]byte, error) { return i.resolved.CanonicalJSON() }

// JSONSchema implements [component.Schemer].
func (Init) JSONSchema() map[string]any { return inits.NestedSchema() }

// Dense returns what weights [in][out] and biases of a dense layer are drawn
// from, in the sense of [Param.Init].
func (i Init) Dense(in, out int, gain float64) (weight, bias Distribution) {
	w, b := i.layer(initLayer{in: in, out: out, places: 1, fanIn: in, fanOut: out, gain: gain})
	return w.Distribution, b.Distribution
}

func (i Init) layer(l initLayer) (weight, bias start) {
	f, err := i.resolved.Build(struct{}{})
	if err != nil {
		panic(err) // building one cannot fail
	}
	return f(l)
}

// A variable, because the networks' own registrations need it.
var inits = registerInits()

func registerInits() *component.Registry[struct{}, initialiser] {
	r := component.NewRegistry[struct{}, initialiser]("init")
	addInit := func(name, summary, formula, source string, numbers []component.Number, f func(p component.Numbers, l initLayer) (weight, bias start)) {
		component.AddNumbers(r, component.Info{Name: name, Summary: summary, Formula: formula, Paper: source}, numbers,
			func(p component.Numbers, _ struct{}) (initialiser, error) {
				return func(l initLayer) (weight, bias start) { return f(p, l) }, nil
			})
	}
	gain := component.Number{Name: "gain", Doc: "factor; 0 takes that of the activation behind the layer", Min: 0, Max: 1e3}
	number := func(name, doc string, def, lo, hi float64) component.Number {
		return component.Number{Name: name, Doc: doc, Default: def, Min: lo, Max: hi}
	}
	gainOf := func(p component.Numbers, l initLayer) float64 {
		if g := p["gain"]; g != 0 {
			return g
		}
		return l.gain
	}
	// scaled registers a uniform and a normal initialiser of one deviation.
	scaled := func(name, what, formula, source string, numbers []component.Number, deviation func(p component.Numbers, l initLayer) float64) {
		addInit(name+"-uniform", what+"; biases 0", "U(±√3·d), d = "+formula, source, numbers, func(p component.Numbers, l initLayer) (w, b start) {
			w.Uniform = float32(math.Sqrt(3) * deviation(p, l))
			return w, b
		})
		addInit(name+"-normal", what+"; biases 0", "N(0, d²), d = "+formula, source, numbers, func(p component.Numbers, l initLayer) (w, b start) {
			w.Normal = float32(deviation(p, l))
			return w, b
		})
	}
	fanOut := number("fan_out", "1 divides by fan_out in the place of fan_in (mode fan_out of PyTorch)", 0, 0, 1)
	scaled("kaiming", "keeps the variance of activations", "gain/√fan_in", "He et al. 2015, eq. 10; torch.nn.init.kaiming_*",
		[]component.Number{gain, fanOut}, func(p component.Numbers, l initLayer) float64 {
			fan := l.fanIn
			if p["fan_out"] >= 0.5 {
				fan = l.fanOut
			}
			return gainOf(p, l) / math.Sqrt(float64(fan))
		})
	scaled("xavier", "between the variances of activations and of gradients", "gain·√(2/(fan_in + fan_out))", "Glorot & Bengio 2010, eq. 16; torch.nn.init.xavier_*",
		[]component.Number{gain}, func(p component.Numbers, l initLayer) float64 {
			return gainOf(p, l) * math.Sqrt(2/float64(l.fanIn+l.fanOut))
		})
	scaled("lecun", "keeps the variance through linear layers", "1/√fan_in", "LeCun et al. 1998, Efficient BackProp; jax.nn.initializers.lecun_*",
		nil, func(_ component.Numbers, l initLayer) float64 { return 1 / math.Sqrt(float64(l.fanIn)) })
	addInit("pytorch", "PyTorch's default for linear and convolutional layers, biases too", "U(±1/√fan_in)", "torch.nn.Linear, torch.nn.Conv2d", nil,
		func(_ component.Numbers, l initLayer) (w, b start) {
			w.Uniform = float32(1 / math.Sqrt(float64(l.fanIn)))
			return w, w
		})
	addInit("truncated-normal", "a normal distribution cut off at ±2 deviations, then of that deviation; biases 0", "N(0, d²) within ±2d′, d = std, or gain/√fan_in where std is 0",
		"jax.nn.initializers.truncated_normal, variance_scaling; torch.nn.init.trunc_normal_ with a, b = ±2·std/0.8796",
		[]component.Number{number("std", "standard deviation d of the result; 0: gain/√fan_in", 0, 0, 1e3), gain},
		func(p component.Numbers, l initLayer) (w, b start) {
			d := p["std"]
			if d == 0 {
				d = gainOf(p, l) / math.Sqrt(float64(l.fanIn))
			}
			w.Normal, w.Truncated = float32(d/truncatedDeviation), true
			return w, b
		})
	addInit("uniform", "a uniform distribution; biases 0", "U(low, high)", "torch.nn.init.uniform_",
		[]component.Number{number("low", "smallest value", -0.05, -1e6, 1e6), number("high", "largest value, above low", 0.05, -1e6, 1e6)},
		func(p component.Numbers, _ initLayer) (w, b start) {
			w.Mean, w.Uniform = float32((p["low"]+p["high"])/2), float32(math.Abs(p["high"]-p["low"])/2)
			return w, b
		})
	addInit("normal", "a normal distribution; biases 0", "N(mean, std²)", "torch.nn.init.normal_",
		[]component.Number{number("mean", "its mean", 0, -1e6, 1e6), number("std", "its standard deviation", 0.01, 0, 1e6)},
		func(p component.Numbers, _ initLayer) (w, b start) {
			w.Mean, w.Normal = float32(p["mean"]), float32(p["std"])
			return w, b
		})
	constant := func(name, formula string, numbers []component.Number, value func(component.Numbers) float64) {
		addInit(name, "all weights alike; biases 0", formula, "torch.nn.init."+name+"_", numbers, func(p component.Numbers, _ initLayer) (w, b start) {
			w.Mean = float32(value(p))
			return w, b
		})
	}
	constant("zeros", "0", nil, func(component.Numbers) float64 { return 0 })
	constant("ones", "1", nil, func(component.Numbers) float64 { return 1 })
	constant("constant", "value", []component.Number{number("value", "of every weight", 0, -1e6, 1e6)}, func(p component.Numbers) float64 { return p["value"] })
	addInit("sparse", "most incoming weights of a unit are 0; biases 0", "N(0, std²), but ⌈sparsity·fan_in⌉ weights of each unit 0, chosen at random",
		"Martens 2010; torch.nn.init.sparse_",
		[]component.Number{number("sparsity", "fraction of a unit's weights that is 0", 0.9, 0, 1), number("std", "standard deviation of the others", 0.01, 1e-6, 1e6)},
		func(p component.Numbers, l initLayer) (w, b start) {
			w.Normal, w.Zeros = float32(p["std"]), float32(p["sparsity"])
			return sparse(w.Distribution, l, p["sparsity"]), b
		})
	addInit("sparse-lecun", "LeCun's uniform initialiser with most incoming weights of a unit 0; biases 0", "U(±1/√fan_in), but ⌈sparsity·fan_in⌉ weights of each unit 0, chosen at random",
		"Elsayed, Vasan & Mahmood 2024, Streaming Deep Reinforcement Learning Finally Works",
		[]component.Number{number("sparsity", "fraction of a unit's weights that is 0", 0.9, 0, 1)},
		func(p component.Numbers, l initLayer) (w, b start) {
			w.Uniform, w.Zeros = float32(1/math.Sqrt(float64(l.fanIn))), float32(p["sparsity"])
			return sparse(w.Distribution, l, p["sparsity"]), b
		})
	addInit("orthogonal", "orthonormal rows or columns, whichever are fewer; biases 0. It takes time like in·out·min(in, out)", "gain·Q, Q from the QR decomposition of a normal matrix, R with a positive diagonal",
		"Saxe, McClelland & Ganguli 2014; torch.nn.init.orthogonal_", []component.Number{gain},
		func(p component.Numbers, l initLayer) (w, b start) {
			g := gainOf(p, l)
			w.Normal = float32(g / math.Sqrt(float64(max(l.in, l.out))))
			w.fill = func(dst []float32, key rng.Key, a uint64) { orthogonal(dst, l.in, l.out, g, key, a) }
			return w, b
		})
	addInit("delta-orthogonal", "an orthogonal matrix of channels in the middle of the window, 0 elsewhere; biases 0", "gain·Q at the centre, else 0; dense layers as orthogonal",
		"Xiao et al. 2018, Dynamical Isometry and a Mean Field Theory of CNNs; jax.nn.initializers.delta_orthogonal", []component.Number{gain},
		func(p component.Numbers, l initLayer) (w, b start) {
			g, channels := gainOf(p, l), l.in/l.places
			w.Normal = float32(g / math.Sqrt(float64(max(l.in, l.out))))
			w.fill = func(dst []float32, key rng.Key, a uint64) {
				clear(dst)
				orthogonal(dst[l.places/2*channels*l.out:][:channels*l.out], channels, l.out, g, key, a)
			}
			return w, b
		})
	addInit("dirac", "each unit passes its own input channel on; biases 0", "1 where the output is the input channel, at the centre of the window, else 0",
		"Zagoruyko & Komodakis 2017, DiracNets; torch.nn.init.dirac_, eye_ for dense layers", nil,
		func(_ component.Numbers, l initLayer) (w, b start) {
			channels := l.in / l.places
			w.Normal = float32(1 / math.Sqrt(float64(l.in)))
			w.fill = func(dst []float32, _ rng.Key, _ uint64) {
				clear(dst)
				for c := range min(channels, l.out) {
					dst[(l.places/2*channels+c)*l.out+c] = 1
				}
			}
			return w, b
		})
	addInit("spread-biases", "PyTorch's default, but the biases of a hidden layer's units evenly spread", "U(±1/√fan_in); hidden biases from −√3·std to √3·std in equal steps",
		"Lan & Mahmood 2023, Elephant Neural Networks", []component.Number{number("std", "standard deviation of the hidden biases", 1, 0, 1e6)},
		func(p component.Numbers, l initLayer) (w, b start) {
			w.Uniform = float32(1 / math.Sqrt(float64(l.fanIn)))
			b = start{Distribution: w.Distribution}
			if l.hidden && l.out > 1 {
				b.Uniform = float32(math.Sqrt(3) * p["std"])
				b.fill = func(dst []float32, _ rng.Key, _ uint64) {
					for i := range dst {
						dst[i] = float32(math.Sqrt(3) * p["std"] * (float64(2*i)/float64(len(dst)-1) - 1))
					}
				}
			}
			return w, b
		})
	addInit("normal-biases", "keeps the variance of activations; biases of one deviation", "N(0, gain²/fan_in); biases N(0, std²)",
		"Man, Damasio & Neven 2022, Need is All You Need (with gain √2 and std 1)", []component.Number{gain, number("std", "standard deviation of the biases", 1, 0, 1e6)},
		func(p component.Numbers, l initLayer) (w, b start) {
			w.Normal = float32(gainOf(p, l) / math.Sqrt(float64(l.fanIn)))
			b.Normal = float32(p["std"])
			return w, b
		})
	return r
}

// sparse draws weights [in][out] and sets ⌈sparsity·in⌉ of each column to 0.
func sparse(d Distribution, l initLayer, sparsity float64) start {
	dense := d
	dense.Zeros = 0
	return start{Distribution: d, fill: func(dst []float32, key rng.Key, a uint64) {
		dense.Fill(dst, key, a)
		zeros := int(math.Ceil(sparsity * float64(l.in)))
		order := make([]int32, l.in)
		for j := range l.out {
			key.Perm(order, mix(^a)+uint64(j))
			for _, i := range order[:zeros] {
				dst[int(i)*l.out+j] = 0
			}
		}
	}}
}

// orthogonal fills dst [rows][cols] with gain times a random matrix whose rows
// are orthonormal, or its columns if they are fewer: Gram–Schmidt, done twice
// over, of a normal matrix. That is Q of its QR decomposition with a positive
// diagonal of R, uniform over such matrices.
func orthogonal(dst []float32, rows, cols int, gain float64, key rng.Key, a uint64) {
	key.FillNormal(dst, a)
	n, length := rows, cols
	at := func(i, k int) int { return i*cols + k }
	if cols < rows {
		n, length = cols, rows
		at = func(i, k int) int { return k*cols + i }
	}
	q := make([]float64, n*length)
	for i := range n {
		v := q[i*length : (i+1)*length]
		for k := range v {
			v[k] = float64(dst[at(i, k)])
		}
		for range 2 {
			for j := range i {
				u := q[j*length : (j+1)*length]
				var dot float64
				for k, x := range u {
					dot += float64(x * v[k])
				}
				for k, x := range u {
					v[k] -= float64(dot * x)
				}
			}
		}
		var square float64
		for _, x := range v {
			square += float64(x * x)
		}
		norm := math.Sqrt(square)
		for k := range v {
			v[k] /= norm
			dst[at(i, k)] = float32(gain * v[k])
		}
	}
}
