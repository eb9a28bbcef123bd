package nn

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/rng"
)

// Gains as torch.nn.init.calculate_gain has them.
var gains = map[string]float64{
	"relu": math.Sqrt2, "tanh": 5.0 / 3, "leaky-relu": math.Sqrt(2 / (1 + 0.2*0.2)), "sigmoid": 1, "linear": 1,
}

// The deviations of the initialisers that go by fans, from their papers; fan-in
// and fan-out of the layer, and the gain.
var deviations = map[string]struct {
	uniform bool
	sd      func(in, out, gain float64) float64
}{
	"kaiming-uniform": {true, func(in, _, gain float64) float64 { return gain / math.Sqrt(in) }},
	"kaiming-normal":  {false, func(in, _, gain float64) float64 { return gain / math.Sqrt(in) }},
	"xavier-uniform":  {true, func(in, out, gain float64) float64 { return gain * math.Sqrt(2/(in+out)) }},
	"xavier-normal":   {false, func(in, out, gain float64) float64 { return gain * math.Sqrt(2/(in+out)) }},
	"lecun-uniform":   {true, func(in, _, _ float64) float64 { return 1 / math.Sqrt(in) }},
	"lecun-normal":    {false, func(in, _, _ float64) float64 { return 1 / math.Sqrt(in) }},
	"pytorch":         {true, func(in, _, _ float64) float64 { return 1 / math.Sqrt(3*in) }},
}

func activationWith(name string) any {
	if name == "leaky-relu" {
		return map[string]any{"kind": name, "slope": 0.2}
	}
	return name
}

func TestInitialisersByMoments(t *testing.T) {
	for init, d := range deviations {
		for name, gain := range gains {
			t.Run(init+" "+name, func(t *testing.T) {
				net := build(t, 4, 150, 90, map[string]any{"hidden": []any{200.0, 120.0}, "activation": activationWith(name), "init": init})
				for _, p := range net.Params() {
					in, g := map[string]float64{"hidden1": 150, "hidden2": 200, "output": 120}[p.Layer], gain
					out := map[string]float64{"hidden1": 200, "hidden2": 120, "output": 90}[p.Layer]
					if p.Layer == "output" {
						g = 1
					}
					require.Equal(t, [2]float64{in, out}, [2]float64{float64(p.FanIn), float64(p.FanOut)})
					if p.Role == Bias && init != "pytorch" {
						require.Equal(t, make([]float32, int(out)), p.Var.F32)
						require.Zero(t, p.Init.StdDev())
						continue
					}
					want := d.sd(in, out, g)
					require.InEpsilon(t, want, float64(p.Init.StdDev()), 1e-6, p.Var.Name)
					kurtosis := 3.0
					if d.uniform {
						kurtosis = 1.8
					}
					moments(t, p.Var.F32, want, kurtosis, p.Var.Name)
					if p.Role == Weight {
						m4 := 0.0
						for _, w := range p.Var.F32 {
							m4 += math.Pow(float64(w)/want, 4) / float64(len(p.Var.F32))
						}
						require.InDelta(t, kurtosis, m4, 0.25, "%s: fourth moment", p.Var.Name)
					}
				}
			})
		}
	}
}

// moments requires mean 0 and the deviation, to five standard errors.
func moments(t *testing.T, x []float32, deviation, kurtosis float64, what string) {
	t.Helper()
	n := float64(len(x))
	var m1, m2, largest float64
	for _, w := range x {
		v := float64(w) / deviation
		m1 += v / n
		m2 += v * v / n
		largest = max(largest, math.Abs(v))
	}
	require.InDelta(t, 0, m1, 5/math.Sqrt(n), "%s: mean", what)
	require.InDelta(t, 1, m2, 5*math.Sqrt((kurtosis-1)/n), "%s: variance", what)
	if kurtosis == 1.8 {
		require.LessOrEqual(t, largest, math.Sqrt(3)*(1+1e-6), what)
	}
}

// started returns the weights [in][out] and biases of a layer.
func started(t *testing.T, init any, l initLayer) (w, b []float32, weight, bias start) {
	t.Helper()
	raw, ok := init.(map[string]any)
	if !ok {
		raw = map[string]any{"kind": init}
	}
	r, err := inits.Resolve("init", raw)
	require.NoError(t, err)
	if l.places == 0 {
		l.places = 1
	}
	if l.fanIn == 0 {
		l.fanIn, l.fanOut = l.in, l.out*l.places
	}
	if l.gain == 0 {
		l.gain = activation.Named("relu").Gain()
	}
	weight, bias = Init{r}.layer(l)
	w, b = make([]float32, l.in*l.out), make([]float32, l.out)
	weight.fillInto(w, rng.New(7, "init"), 3)
	bias.fillInto(b, rng.New(7, "init"), 4)
	return w, b, weight, bias
}

func TestEveryInitialiserIsTested(t *testing.T) {
	tested := []string{
		"truncated-normal", "uniform", "normal", "zeros", "ones", "constant", "sparse", "sparse-lecun", "orthogonal", "delta-orthogonal", "dirac", "spread-biases", "normal-biases",
	}
	for name := range deviations {
		tested = append(tested, name)
	}
	require.ElementsMatch(t, tested, Inits())
}

func TestInitialisersByTheirParameters(t *testing.T) {
	layer := initLayer{in: 300, out: 200}
	type object = map[string]any
	w, b, s, _ := started(t, object{"kind": "kaiming-normal", "gain": 3.0, "fan_out": 1.0}, layer)
	moments(t, w, 3/math.Sqrt(200), 3, "kaiming by fan_out")
	require.Equal(t, make([]float32, 200), b)
	require.InEpsilon(t, 3/math.Sqrt(200), s.StdDev(), 1e-6)

	w, _, s, _ = started(t, object{"kind": "truncated-normal", "std": 0.5}, layer)
	require.InEpsilon(t, 0.5, s.StdDev(), 1e-6)
	largest := 0.0
	for _, v := range w {
		largest = max(largest, math.Abs(float64(v)))
	}
	moments(t, w, 0.5, 2.37, "truncated normal") // E x⁴/σ⁴ within ±2 is 2.37
	require.Less(t, largest, 2*0.5/truncatedDeviation*(1+1e-6))
	require.Greater(t, largest, 1.99*0.5/truncatedDeviation)
	w, _, _, _ = started(t, "truncated-normal", layer)
	moments(t, w, math.Sqrt2/math.Sqrt(300), 2.37, "truncated normal by fan_in")

	w, _, s, _ = started(t, object{"kind": "uniform", "low": 1.0, "high": 3.0}, layer)
	for i := range w {
		require.True(t, w[i] >= 1 && w[i] < 3)
		w[i] -= 2
	}
	moments(t, w, 1/math.Sqrt(3), 1.8, "uniform")
	require.InEpsilon(t, 1/math.Sqrt(3), s.StdDev(), 1e-6)

	w, _, _, _ = started(t, object{"kind": "normal", "mean": -1.0, "std": 2.0}, layer)
	for i := range w {
		w[i]++
	}
	moments(t, w, 2, 3, "normal")

	for name, want := range map[string]float32{"zeros": 0, "ones": 1, "constant": 0.5} {
		init := object{"kind": name}
		if name == "constant" {
			init["value"] = 0.5
		}
		w, b, s, _ := started(t, init, layer)
		for _, v := range w {
			require.Equal(t, want, v)
		}
		require.Equal(t, make([]float32, 200), b)
		require.Zero(t, s.StdDev())
	}
}

func TestSparseInitialisers(t *testing.T) {
	layer := initLayer{in: 101, out: 300}
	for name, scale := range map[string]float64{"sparse": 0.01, "sparse-lecun": 1 / math.Sqrt(3*101)} {
		w, b, s, _ := started(t, map[string]any{"kind": name, "sparsity": 0.8}, layer)
		var rest []float32
		places := map[int]int{}
		for j := range layer.out {
			zeros := 0
			for i := range layer.in {
				if v := w[i*layer.out+j]; v == 0 {
					zeros++
					places[i]++
				} else {
					rest = append(rest, v)
				}
			}
			require.Equal(t, 81, zeros, "⌈0.8·101⌉ of the weights of unit %d", j)
		}
		require.Len(t, places, 101, "every input is cut off from some unit")
		for i, n := range places {
			require.InDelta(t, 0.8*300, n, 5*math.Sqrt(300*0.16), "input %d", i)
		}
		kurtosis := 3.0
		if name == "sparse-lecun" {
			kurtosis = 1.8
		}
		moments(t, rest, scale, kurtosis, name)
		require.Equal(t, make([]float32, 300), b)

		// What is drawn afresh is sparse too.
		fresh := make([]float32, 20000)
		s.Fill(fresh, rng.New(1, "fresh"), 9)
		zeros := 0
		for _, v := range fresh {
			if v == 0 {
				zeros++
			}
		}
		require.InDelta(t, 0.8*20000, zeros, 5*math.Sqrt(20000*0.16))
	}
}

func TestOrthogonalInitialisers(t *testing.T) {
	for _, shape := range [][2]int{{40, 25}, {25, 40}, {30, 30}, {1, 7}, {7, 1}} {
		in, out := shape[0], shape[1]
		w, b, s, _ := started(t, map[string]any{"kind": "orthogonal", "gain": 2.0}, initLayer{in: in, out: out})
		require.Equal(t, make([]float32, out), b)
		require.InEpsilon(t, 2/math.Sqrt(float64(max(in, out))), s.StdDev(), 1e-6)
		requireOrthogonal(t, w, in, out, 2)
	}
	w, _, _, _ := started(t, "orthogonal", initLayer{in: 400, out: 400})
	moments(t, w, math.Sqrt2/20, 3, "orthogonal with the gain of ReLU")

	// A window of 3×3 over 5 channels, 8 units.
	w, _, _, _ = started(t, map[string]any{"kind": "delta-orthogonal", "gain": 1.0}, initLayer{in: 45, out: 8, places: 9})
	requireOrthogonal(t, w[4*5*8:5*5*8], 5, 8, 1)
	clear(w[4*5*8 : 5*5*8])
	require.Equal(t, make([]float32, 45*8), w, "0 but in the middle")

	w, _, _, _ = started(t, "dirac", initLayer{in: 27, out: 5, places: 9})
	for i, v := range w {
		place, c, o := i/5/3, i/5%3, i%5
		want := float32(0)
		if place == 4 && c == o {
			want = 1
		}
		require.Equal(t, want, v)
	}
}

// requireOrthogonal requires rows or columns of [in][out], whichever are fewer,
// to have the given norm and to be orthogonal.
func requireOrthogonal(t *testing.T, w []float32, in, out int, norm float64) {
	t.Helper()
	n, length, at := in, out, func(i, k int) int { return i*out + k }
	if out < in {
		n, length, at = out, in, func(i, k int) int { return k*out + i }
	}
	for i := range n {
		for j := range i + 1 {
			var dot float64
			for k := range length {
				dot += float64(w[at(i, k)]) * float64(w[at(j, k)])
			}
			want := 0.0
			if i == j {
				want = norm * norm
			}
			require.InDelta(t, want, dot, 1e-6, "%d and %d", i, j)
		}
	}
}

func TestInitialisersWithBiasesOfTheirOwn(t *testing.T) {
	layer := initLayer{in: 300, out: 201, hidden: true}
	w, b, _, _ := started(t, map[string]any{"kind": "spread-biases", "std": 2.0}, layer)
	moments(t, w, 1/math.Sqrt(3*300), 1.8, "weights")
	squares := 0.0
	for i, v := range b {
		require.InDelta(t, 2*math.Sqrt(3)*(float64(i)-100)/100, v, 1e-6)
		squares += float64(v) * float64(v)
	}
	require.InEpsilon(t, 2, math.Sqrt(squares/201), 0.01, "their deviation is std")
	layer.hidden = false
	_, b, _, s := started(t, map[string]any{"kind": "spread-biases", "std": 2.0}, layer)
	require.InEpsilon(t, 1/math.Sqrt(3*300), s.StdDev(), 1e-6)
	for _, v := range b {
		require.LessOrEqual(t, math.Abs(float64(v)), 1/math.Sqrt(300), "output biases are PyTorch's")
	}
	require.NotEqual(t, b[0], b[1])

	w, b, _, s = started(t, map[string]any{"kind": "normal-biases", "gain": 1.5, "std": 3.0}, initLayer{in: 30, out: 2000})
	moments(t, w, 1.5/math.Sqrt(30), 3, "weights")
	moments(t, b, 3, 3, "biases")
	require.InEpsilon(t, 3, s.StdDev(), 1e-6)
}
