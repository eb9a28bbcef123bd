package nn

import (
	"fmt"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

// Limits of what a spec may ask for. What fits into memory is a question of its
// own (see [Sizer]).
const (
	maxWidth  = 1 << 20 // units of a layer
	maxLayers = 64
)

// maker makes the parts of a network: their parameters, and the list of them.
// In a dry run it makes parameters without values, and counts.
type maker struct {
	env    Env
	init   Init
	dry    bool
	size   Size
	params []*Param
	units  []*Units
	draws  uint64 // of initial values so far
	frozen bool   // what is made now is not trained

	adapters []Adapter // made so far

	statistics []statistic
}

// statistic is a variable that belongs to the network and is not trained.
type statistic struct {
	layer string
	v     *graph.Var
	torch torchName
}

func newMaker(env Env, init Init) *maker { return &maker{env: env, init: init} }

// maker returns the maker of a network that is no chain of layers. Methods that
// edit one see a blueprint without layers.
func (i Init) maker(env Env) (*maker, error) {
	bp := &Blueprint{Init: i}
	if env.Edit != nil {
		if err := env.Edit(bp); err != nil {
			return nil, err
		}
	}
	return newMaker(env, bp.Init), nil
}

// dryMaker returns a maker that only counts.
func dryMaker(input tensor.Shape, outputs int, init Init) *maker {
	return &maker{env: Env{Input: input, Outputs: outputs}, init: init, dry: true}
}

// count saturates far below an overflow.
func count(dims ...int) int64 {
	n := int64(1)
	for _, d := range dims {
		if d > 0 && n > (1<<62)/int64(d) {
			return 1 << 62
		}
		n *= int64(d)
	}
	return n
}

// values notes that a forward pass keeps that many values of an example.
func (m *maker) values(dims ...int) {
	n := count(dims...)
	m.size.Activations = min(m.size.Activations+n, 1<<62)
	m.size.Widest = max(m.size.Widest, n)
}

// param makes a parameter and draws its values.
func (m *maker) param(layer, name string, role Role, fanIn, fanOut int, s start, torch torchName, shape ...int) *Param {
	p := &Param{Layer: layer, Role: role, FanIn: fanIn, FanOut: fanOut, Init: s.Distribution, Frozen: m.frozen, torch: torch}
	draw := m.draws
	m.draws++
	m.params = append(m.params, p)
	if m.dry {
		m.size.Params = min(m.size.Params+count(shape...), 1<<62)
		p.Var = &graph.Var{Name: name, Shape: shape}
		return p
	}
	p.Var = m.env.Space.State(name, graph.F32, shape...)
	s.fillInto(p.Var.F32, m.env.Key, draw)
	return p
}

// dense is an affine map of the last axis: a layer's weights and biases. With
// places above 1 it is the filter of a convolution.
type dense struct {
	w, b        *Param
	standardize bool
}

// denseSpec describes a dense to be made.
type denseSpec struct {
	layer       string // whose it is
	name        string // of the parameters; "" stands for the layer's
	in, out     int
	window      [2]int // of a convolution: rows and columns
	gain        float64
	bias        bool
	standardize bool
	torch       torchName // of the weights; the biases' follows from it
	init        *Init     // in the place of the network's
}

func (m *maker) dense(s denseSpec) *dense {
	if s.name == "" {
		s.name = s.layer
	}
	init := m.init
	if s.init != nil {
		init = *s.init
	}
	places := 1
	if s.window != [2]int{} {
		places = s.window[0] * s.window[1]
	}
	in, fanOut := places*s.in, places*s.out
	ws, bs := init.layer(initLayer{in: in, out: s.out, places: places, fanIn: in, fanOut: fanOut, gain: s.gain, hidden: s.layer != "output"})
	d := &dense{standardize: s.standardize}
	s.torch.window = s.window
	d.w = m.param(s.layer, s.name+"/weight", Weight, in, fanOut, ws, s.torch, in, s.out)
	if s.bias {
		d.b = m.param(s.layer, s.name+"/bias", Bias, in, fanOut, bs, s.torch.bias(), s.out)
	} else {
		m.draws++ // the weights of later layers do not depend on it
	}
	return d
}

// weights reads the weights, standardised if that is asked for: those of each
// unit have mean 0 and norm 1 (Keskinen 2024; Qiao et al. 2019 standardise to
// variance 1).
func (d *dense) weights(b *graph.Builder) graph.Node {
	w := b.Read(d.w.Var)
	if !d.standardize {
		return w
	}
	w = b.Sub(w, b.MeanAxes(w, 0))
	return b.Div(w, b.Sqrt(b.Add(b.SumAxes(b.Square(w), 0), b.Const(1e-12))))
}

func (d *dense) shift(b *graph.Builder, x graph.Node) graph.Node {
	if d.b == nil {
		return x
	}
	return b.Add(x, b.Read(d.b.Var))
}

// apply maps x [n][in].
func (d *dense) apply(b *graph.Builder, x graph.Node) graph.Node {
	return d.shift(b, b.MatMul(x, d.weights(b)))
}

// convolve maps x [n][h][w][in].
func (d *dense) convolve(b *graph.Builder, x graph.Node, win graph.Window) graph.Node {
	return d.shift(b, b.Conv2D(x, d.weights(b), win, 1))
}

// unitsIn are the slices of the units that this layer makes: incoming weights
// and biases.
func (d *dense) unitsIn() (in, bias []Slice) {
	in = []Slice{{Param: d.w, Axis: 1, Each: 1}}
	if d.b != nil {
		bias = []Slice{{Param: d.b, Axis: 0, Each: 1}}
	}
	return in, bias
}

// reads notes that this layer reads the outputs of n units, which repeat along
// its inputs (for places of a window or an image, and for a unit's outputs).
func (d *dense) reads(u *Units) {
	s := Slice{Param: d.w, Axis: 0, Each: 1}
	if r := d.w.FanIn / u.N; r > 1 {
		s.Repeat, s.Every = r, u.N
	}
	u.Out = append(u.Out, s)
	u.OutBias = append(u.OutBias, d.b)
}

// The kinds of normalisation.
const (
	normNone  = "none"
	normLayer = "layer"
	normBatch = "batch"
	normGroup = "group"
)

// epsilon of normalisations, as in PyTorch.
const epsilon = 1e-5

// norm is a normalisation with scale and shift per unit.
type norm struct {
	kind           string
	groups         int
	gamma, beta    *Param
	mean, variance *graph.Var // of the batches so far, for batch normalisation
}

// norm makes a normalisation of that many units of a layer, nil for none. name
// is what its parameters are called by.
func (m *maker) norm(layer, name, kind string, units, groups int, torch torchName) (*norm, error) {
	if kind == normNone {
		return nil, nil //nolint:nilnil // no normalisation is none
	}
	if kind == normGroup && units%groups != 0 {
		return nil, component.Fieldf("groups", "%d units of layer %s are not in %d equal groups", units, layer, groups)
	}
	n := &norm{kind: kind, groups: groups}
	keep := m.draws // constants draw nothing
	n.gamma = m.param(layer, name+"/gain", Gain, units, units, start{Distribution: Distribution{Mean: 1}}, torch, units)
	n.beta = m.param(layer, name+"/shift", Shift, units, units, start{}, torch.bias(), units)
	m.draws = keep
	if kind == normBatch && !m.dry {
		n.mean = m.env.Space.State(name+"/running_mean", graph.F32, units)
		n.variance = m.env.Space.State(name+"/running_variance", graph.F32, units)
		for i := range n.variance.F32 {
			n.variance.F32[i] = 1
		}
		m.statistics = append(m.statistics,
			statistic{layer, n.mean, torch.suffixed("running_mean")}, statistic{layer, n.variance, torch.suffixed("running_var")})
	}
	return n, nil
}

// apply normalises x [n][...][units].
func (n *norm) apply(b *graph.Builder, x graph.Node, mode Mode) graph.Node {
	if n == nil {
		return x
	}
	gamma, beta := b.Read(n.gamma.Var), b.Read(n.beta.Var)
	switch n.kind {
	case normGroup:
		return b.GroupNorm(x, n.groups, gamma, beta, epsilon)
	case normLayer:
		if len(x.Shape()) > 2 { // all places and channels of the example
			return b.GroupNorm(x, 1, gamma, beta, epsilon)
		}
		return b.LayerNorm(x, gamma, beta, epsilon)
	}
	if mode == Training {
		return b.BatchNorm(x, gamma, beta, epsilon, &graph.BatchStatistics{Mean: n.mean, Variance: n.variance, Momentum: 0.1})
	}
	return b.BatchNormEvaluation(x, gamma, beta, b.Read(n.mean), b.Read(n.variance), epsilon)
}

// addTo puts scale and shift among what belongs to a unit.
func (n *norm) addTo(u *Units) {
	if n == nil {
		return
	}
	u.Gain = append(u.Gain, Slice{Param: n.gamma, Axis: 0, Each: 1})
	u.Bias = append(u.Bias, Slice{Param: n.beta, Axis: 0, Each: 1})
}

// newUnits makes the group of units of a layer and adds it to the network's.
func (m *maker) newUnits(layer string, n, places int, a activation.Activation, d *dense, nm *norm) *Units {
	u := &Units{Layer: layer, N: n, Places: places, Outputs: a.Outputs()}
	u.In, u.Bias = d.unitsIn()
	nm.addTo(u)
	m.units = append(m.units, u)
	return u
}

// dropout drops units of a layer out.
func (m *maker) dropout(b *graph.Builder, x graph.Node, p float64, layer string, mode Mode) graph.Node {
	if p == 0 || mode != Training {
		return x
	}
	return b.Dropout(x, float32(p), m.env.Keys("dropout/"+layer))
}

// image returns the shape [h][w][c] of an example: a matrix is one channel.
func image(input tensor.Shape) (h, w, c int, err error) {
	switch len(input) {
	case 2:
		return input[0], input[1], 1, nil
	case 3:
		return input[0], input[1], input[2], nil
	}
	return 0, 0, 0, component.Fieldf("", "needs images [height][width] or [height][width][channels]; the stream's examples are %s", input)
}

// sequence returns the shape [t][features] of an example: its first axis is
// time, and a vector is a sequence of numbers.
func sequence(input tensor.Shape) (t, features int) {
	return input[0], input[1:].Elems()
}

// batchNormNeeds refuses batches that have no variance.
func batchNormNeeds(kind string, batch int) error {
	if kind == normBatch && batch < 2 {
		return component.Fieldf("norm", "batch normalisation needs batches of at least 2 examples, the stream's have %d; layer goes with any", batch)
	}
	return nil
}

func checkLayers(field string, n int) error {
	if n > maxLayers {
		return component.Fieldf(field, "has %d layers, at most %d are allowed", n, maxLayers)
	}
	return nil
}

func checkWidth(field string, n int) error {
	if n < 1 || n > maxWidth {
		return component.Fieldf(field, "must be between 1 and %d units, is %d", maxWidth, n)
	}
	return nil
}

func checkBetween(field string, v, lo, hi int) error {
	if v < lo || v > hi {
		return component.Fieldf(field, "must be between %d and %d, is %d", lo, hi, v)
	}
	return nil
}

func checkDropout(p float64) error {
	if !(p >= 0 && p < 1) || math.IsNaN(p) {
		return component.Fieldf("dropout", "must be in [0, 1), is %v", p)
	}
	return nil
}

func indexed(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
