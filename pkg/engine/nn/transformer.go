package nn

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/tensor"
)

func init() {
	Register(component.Info{
		Name:     "transformer",
		Paper:    "Vaswani et al. 2017, Attention Is All You Need; normalised in front of each part as in Xiong et al. 2020",
		Summary:  "blocks of self-attention and a hidden layer; an example's first axis is its tokens",
		Provides: []component.Capability{component.Units},
	}, transformerConfig{
		Width: 32, Heads: 4, Hidden: []int{64}, Activation: activation.Named("gelu"),
		Init: NamedInit("xavier-uniform"), Weights: noWeights(),
	}, nil, newTransformer)
}

type transformerConfig struct {
	Width      int                   `json:"width" doc:"of the stream that the blocks add to"`
	Heads      int                   `json:"heads" doc:"of the attention; they share the width"`
	Hidden     []int                 `json:"hidden" doc:"units of the hidden layer of each block"`
	Activation activation.Activation `json:"activation" doc:"nonlinearity of the hidden layers: its name, or an object with its parameters"`
	Causal     bool                  `json:"causal" doc:"a token sees itself and those before it only"`
	Dropout    float64               `json:"dropout" doc:"probability of dropping a value that a block adds to the stream while training"`
	Init       Init                  `json:"init" doc:"initialiser of weights and biases: its name, or an object with its parameters (neoteny components init)"`
	Weights    WeightsFile           `json:"weights" doc:"a safetensors file to start from, in the place of the initialiser's draws; path \"\" is none"`
}

func (c transformerConfig) Validate() error {
	errs := []error{
		checkWidth("width", c.Width), checkBetween("heads", c.Heads, 1, maxWidth), checkLayers("hidden", len(c.Hidden)),
		checkDropout(c.Dropout), c.Weights.Validate(),
	}
	if c.Heads > 0 && c.Width%c.Heads != 0 {
		errs = append(errs, component.Fieldf("heads", "%d heads cannot share a width of %d", c.Heads, c.Width))
	}
	if len(c.Hidden) == 0 {
		errs = append(errs, component.Fieldf("hidden", "has no block"))
	}
	for i, n := range c.Hidden {
		errs = append(errs, checkWidth(indexed("hidden", i), n))
	}
	return errors.Join(errs...)
}

// Size implements [Sizer].
func (c transformerConfig) Size(input tensor.Shape, outputs, _ int) (Size, error) {
	m := dryMaker(input, outputs, c.Init)
	_, err := m.transformer(c)
	return m.size, err
}

// transformer is, for the tokens of an example as rows of x,
//
//	x = embed(tokens) + position
//	x = x + out(attention(q, k, v)),  q, k, v = parts of qkv(norm(x))      each block
//	x = x + back(a(hidden(norm(x))))
//	output = dense(mean over tokens of norm(x))
//
// Its units are those of the hidden layers. The coordinates of x, and of the
// heads, are none.
type transformer struct {
	*maker
	cfg              transformerConfig
	tokens, features int
	embed            *dense
	position         *Param
	blocks           []attentionBlock
	norm             *norm
	output           *dense
}

type attentionBlock struct {
	layer                  string
	first, second          *norm
	qkv, out, hidden, back *dense
}

// maxTokens bounds the attention's squares.
const maxTokens = 4096

func (m *maker) transformer(c transformerConfig) (*transformer, error) {
	t := &transformer{maker: m, cfg: c}
	t.tokens, t.features = sequence(m.env.Input)
	if t.tokens > maxTokens {
		return nil, component.Fieldf("", "an example has %d tokens, at most %d are allowed", t.tokens, maxTokens)
	}
	d := c.Width
	linear := func(layer, name string, in, out int, gain float64) *dense {
		return m.dense(denseSpec{layer: layer, name: name, in: in, out: out, gain: gain, bias: true, torch: torchName{key: name, module: -1}})
	}
	norm := func(layer, name string) *norm {
		n, err := m.norm(layer, name, normLayer, d, 1, torchName{key: name, module: -1})
		if err != nil {
			panic(err) // only groups can fail
		}
		return n
	}
	t.embed = linear("embed", "embed", t.features, d, 1)
	t.position = m.param("position", "position/embedding", Embedding, t.tokens, d,
		start{Distribution: Distribution{Normal: 0.02}}, torchName{key: "position", module: -1, same: true}, t.tokens, d)
	m.values(t.tokens, d)
	for i, h := range c.Hidden {
		layer := fmt.Sprintf("block%d", i+1)
		bl := attentionBlock{layer: layer}
		bl.first = norm(layer, layer+"/norm1")
		bl.qkv = linear(layer, layer+"/qkv", d, 3*d, 1)
		bl.qkv.w.torch.suffix, bl.qkv.b.torch.suffix = "in_proj_weight|weight", "in_proj_bias|bias"
		bl.out = linear(layer, layer+"/out", d, d, 1)
		bl.second = norm(layer, layer+"/norm2")
		bl.hidden = linear(layer, layer+"/hidden", d, h, c.Activation.Gain())
		bl.back = linear(layer, layer+"/back", h*c.Activation.Outputs(), d, 1)
		u := m.newUnits(layer, h, t.tokens, c.Activation, bl.hidden, nil)
		bl.back.reads(u)
		m.values(t.tokens, 8*d)
		m.values(c.Heads, t.tokens, t.tokens)
		m.values(t.tokens, h*(1+c.Activation.Outputs()))
		t.blocks = append(t.blocks, bl)
	}
	t.norm = norm("norm", "norm")
	t.output = linear("output", "output", d, m.env.Outputs, 1)
	m.values(m.env.Outputs)
	return t, nil
}

// Forward implements [Network].
func (t *transformer) Forward(b *graph.Builder, x graph.Node, mode Mode) Activations {
	var a Activations
	n, d, heads := x.Shape()[0], t.cfg.Width, t.cfg.Heads
	x = t.embed.apply(b, b.Reshape(x, n*t.tokens, t.features))
	x = b.Add(b.Reshape(x, n, t.tokens, d), b.Read(t.position.Var))
	x = b.Reshape(x, n*t.tokens, d)
	var mask graph.Node
	if t.cfg.Causal {
		mask = b.CausalMask(t.tokens)
	}
	add := func(x, part graph.Node, name string) graph.Node {
		return b.Add(x, t.dropout(b, part, t.cfg.Dropout, name, mode))
	}
	for i, bl := range t.blocks {
		qkv := b.Reshape(bl.qkv.apply(b, bl.first.apply(b, x, mode)), n, t.tokens, 3, heads, d/heads)
		qkv = b.Permute(qkv, 2, 0, 3, 1, 4) // [3][n][heads][tokens][d/heads]
		part := func(k int) graph.Node { return b.Squeeze(b.SliceAxis(qkv, 0, k, k+1), 0) }
		seen := b.Attention(part(0), part(1), part(2), mask)
		seen = b.Reshape(b.Permute(seen, 0, 2, 1, 3), n*t.tokens, d)
		x = add(x, bl.out.apply(b, seen), bl.layer+"/out")
		h := t.cfg.Activation.Apply(b, bl.hidden.apply(b, bl.second.apply(b, x, mode)))
		a.Features = append(a.Features, rows(b, h, t.units[i]))
		x = add(x, bl.back.apply(b, h), bl.layer+"/back")
	}
	x = b.Reshape(t.norm.apply(b, x, mode), n, t.tokens, d)
	a.Output = t.output.apply(b, b.Reshape(b.MeanAxes(x, 1), n, d))
	return a
}

func newTransformer(c transformerConfig, env Env) (Network, error) {
	m, err := c.Init.maker(env)
	if err != nil {
		return nil, err
	}
	t, err := m.transformer(c)
	if err != nil {
		return nil, err
	}
	return t, t.load(c.Weights)
}
