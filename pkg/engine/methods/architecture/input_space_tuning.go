package architecture

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "input-space-tuning",
		Paper:   "Marullo et al. 2023, Continual Learning with Pretrained Backbones by Tuning in the Input Space",
		Summary: "the network stays as it is but for its output layer, and what it is shown is transformed by parameters that learn",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"tune": tuneNothing, "backbone": "trained"}},
			Lively: component.Object{"tune": tuneImage},
			Alone:  true, // others want layers that learn
		},
	}, inputTuningConfig{Tune: tuneImage, Frame: 4, Width: 8, Backbone: "frozen"}, nil, newInputTuning)
}

// The transformations of the input.
const (
	tuneNothing = "nothing"
	tuneImage   = "image"
	tuneFrame   = "frame"
	tuneNetwork = "network"
)

type inputTuningConfig struct {
	Tune     string `json:"tune" doc:"image: a number is added to every input; frame: only to those near the border of the image (networks of convolutions); network: two small layers add a function of the input, convolutions of 3×3 before convolutions, else dense ones; nothing: inputs are shown as they are" enum:"nothing|image|frame|network"`
	Frame    int    `json:"frame" doc:"pixels between the border and what is left alone, for frame"`
	Width    int    `json:"width" doc:"units of the inner layer, for network; channels if it is a convolution"`
	Backbone string `json:"backbone" doc:"the layers before the output: frozen from the start (give the network weights to start from); first-task: they learn the first task, inputs being shown as they are, and are frozen then; biases: only biases, scales and shifts learn; trained" enum:"frozen|first-task|biases|trained"`
}

func (c inputTuningConfig) Validate() error {
	var errs []error
	if c.Frame < 1 {
		errs = append(errs, component.Fieldf("frame", "must be at least 1 pixel, is %d", c.Frame))
	}
	if c.Width < 1 || c.Width > 1<<16 {
		errs = append(errs, component.Fieldf("width", "must be between 1 and %d, is %d", 1<<16, c.Width))
	}
	return errors.Join(errs...)
}

// Build implements [method.Builder].
func (c inputTuningConfig) Build(bp *nn.Blueprint) error {
	if c.Tune == tuneNothing {
		return nil
	}
	if len(bp.Layers) == 0 {
		return component.Fieldf("tune", "needs a chain of layers, such as an mlp or a cnn, or nothing")
	}
	bp.Input = append(bp.Input, &inputTransformation{cfg: c})
	return nil
}

// newInputTuning freezes the backbone. What learns is the output layer and
// T_δ in
//
//	y = W·f(T_δ(x)) + b
//	T_δ(x) = x + δ                        image
//	T_δ(x) = x + M ∘ δ                    frame; M is 1 within the frame
//	T_δ(x) = x + A₂·relu(A₁·x + b₁) + b₂    network
//
// over all tasks of the stream, δ, A₂ and b₂ being 0 at the start, so that f, best
// given weights to start from, sees examples as they are at first. The paper
// shows a smaller image within its frame; here the size stays and the frame lies
// over the image's border. Batch normalisation in f goes on collecting statistics.
func newInputTuning(c inputTuningConfig, env method.Env) (method.Method, error) {
	m := &inputTuning{states: env.States}
	if c.Backbone == backboneFirstTask {
		m.first = env.State("first", graph.F32)
		m.first.F32[0] = 1
		return m, nil
	}
	for _, p := range env.Network.Params() {
		if ofBackbone(p) {
			p.Frozen = c.Backbone == "frozen" || c.Backbone == "biases" && (p.Role == nn.Weight || p.Role == nn.Embedding)
		}
	}
	return m, nil
}

const backboneFirstTask = "first-task"

type inputTuning struct {
	states *optim.States
	first  *graph.Var // 1 in the first task; nil where it is no exception
}

func ofBackbone(p *nn.Param) bool { return p.Layer != "output" && p.Role != nn.Adapted }

// UpdateWeight implements [method.WeightUpdater].
func (m *inputTuning) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	switch {
	case m.first == nil || u.Param.Layer == "output":
		return w
	case ofBackbone(u.Param):
		return u.B.Select(u.B.Read(m.first), w, u.W)
	}
	return u.B.Select(u.B.Read(m.first), u.W, w)
}

// TaskBoundary implements [method.TaskBoundary].
func (m *inputTuning) TaskBoundary(*learner.Step) error {
	if m.first != nil && m.first.F32[0] == 1 {
		m.first.F32[0] = 0
		m.states.Restart(true)
	}
	return nil
}

// inputTransformation is T_δ.
type inputTransformation struct {
	cfg    inputTuningConfig
	mask   []float32 // M
	delta  *nn.Param // δ, of image and frame
	a1, b1 *nn.Param
	a2, b2 *nn.Param
}

// Make implements [nn.Adapter].
func (t *inputTransformation) Make(m *nn.AdapterMaker) error {
	image := len(m.Shape) == 3
	switch t.cfg.Tune {
	case tuneFrame:
		if !image {
			return component.Fieldf("tune", "a frame needs a network that sees images, such as a cnn; an mlp sees vectors")
		}
		h, w, c := m.Shape[0], m.Shape[1], m.Shape[2]
		if 2*t.cfg.Frame >= min(h, w) {
			return component.Fieldf("frame", "%d pixels on all sides leave nothing of images [%d %d]", t.cfg.Frame, h, w)
		}
		t.mask = make([]float32, h*w*c)
		for i := range t.mask {
			row, column := i/c/w, i/c%w
			if min(row, h-1-row, column, w-1-column) < t.cfg.Frame {
				t.mask[i] = 1
			}
		}
		fallthrough
	case tuneImage:
		t.delta = m.Param("delta", 1, nn.Distribution{}, m.Shape...)
	case tuneNetwork:
		in, places := m.Shape[len(m.Shape)-1], 1
		if image {
			places = 9
		}
		// Kaiming's uniform distribution for the layer with the ReLU.
		fanIn := places * in
		t.a1 = m.Param("in", fanIn, nn.Distribution{Uniform: float32(math.Sqrt(6 / float64(fanIn)))}, fanIn, t.cfg.Width)
		t.b1 = m.Param("in_bias", fanIn, nn.Distribution{}, t.cfg.Width)
		t.a2 = m.Param("out", places*t.cfg.Width, nn.Distribution{}, places*t.cfg.Width, in)
		t.b2 = m.Param("out_bias", places*t.cfg.Width, nn.Distribution{}, in)
	}
	return nil
}

// Apply implements [nn.Adapter].
func (t *inputTransformation) Apply(b *graph.Builder, x graph.Node, _ nn.Mode) graph.Node {
	switch t.cfg.Tune {
	case tuneImage:
		return b.Add(x, b.Read(t.delta.Var))
	case tuneFrame:
		return b.Add(x, b.Mul(b.Array(t.mask, t.delta.Var.Shape...), b.Read(t.delta.Var)))
	}
	layer := func(x graph.Node, w, bias *nn.Param) graph.Node {
		if len(x.Shape()) == 4 {
			x = b.Conv2D(x, b.Read(w.Var), graph.SquareWindow(3, 1, 1), 1)
		} else {
			x = b.MatMul(x, b.Read(w.Var))
		}
		return b.Add(x, b.Read(bias.Var))
	}
	return b.Add(x, layer(b.ReLU(layer(x, t.a1, t.b1)), t.a2, t.b2))
}

var (
	_ method.Builder       = inputTuningConfig{}
	_ method.WeightUpdater = (*inputTuning)(nil)
	_ method.TaskBoundary  = (*inputTuning)(nil)
	_ nn.Adapter           = (*inputTransformation)(nil)
)
