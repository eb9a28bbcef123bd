// Package nn has networks: what they are made of, how their parameters start,
// and which of their parts are units.
//
// Weights are stored input-major, [in][out]: the forward pass of one example
// adds up rows, and an input that is zero costs nothing.
package nn

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// Role says what a parameter does in its layer.
type Role string

// Roles of parameters.
const (
	Weight    Role = "weight"
	Bias      Role = "bias"
	Gain      Role = "gain"      // γ of a normalisation
	Shift     Role = "shift"     // β of a normalisation
	Embedding Role = "embedding" // added to the input, place by place
	Adapted   Role = "adapter"   // of an Adapter, which says what it does
)

// Param is a trained array with what methods need to know of it.
type Param struct {
	Var    *graph.Var
	Layer  string // "hidden1", …, "output"
	Role   Role
	FanIn  int // inputs of one unit of its layer
	FanOut int
	// Init is what its elements are drawn from when a method draws them afresh.
	// For initialisers whose elements depend on each other (orthogonal, say) it
	// is a normal distribution with the same variance.
	Init Distribution
	// Frozen parameters are not trained: they get no gradient and no update.
	Frozen bool

	torch torchName
}

// Units is a group of hidden units: one layer's. The units of a convolution are
// its channels.
type Units struct {
	Layer string
	N     int
	In    []Slice // incoming weights, unit by unit
	Bias  []Slice // biases, unit by unit; empty without
	Out   []Slice // outgoing weights, unit by unit
	// OutBias are the biases of the layer that reads these units, parallel to
	// Out; nil where there is none. Continual backprop's bias compensation
	// writes to it.
	OutBias []*Param
	// Gain are the scales of the units' normalisation, which a unit that is
	// made new has at their initial values again; empty without. The shifts are
	// among the biases.
	Gain []Slice

	// Places is how many values one unit has for one example, beside the ones of
	// Outputs: positions in the image, steps of the sequence. 1 for dense layers.
	Places int
	// Outputs is how many functions of the unit the next layer reads: 2 behind
	// an activation that concatenates two, else 1.
	Outputs int
}

// Rows returns how many rows of [Activations.Features] one example has.
func (u *Units) Rows() int { return u.Places * u.Outputs }

// Slice says which elements of a parameter belong to a unit: along Axis the
// indices [Start + unit·Each, Start + (unit+1)·Each), along the others all.
//
// With Repeat above 1 the same again Repeat−1 times, each Every indices further
// on: a channel c of C that is flattened into a dense layer's inputs has the
// indices p·C + c for every position p, a unit h of H of an LSTM the gates
// g·H + h. Start is 0 then and Repeat·Every the whole axis.
type Slice struct {
	Param *Param
	Axis  int
	Start int
	Each  int

	Repeat int // 0 stands for 1
	Every  int
}

// Span returns, for a unit, the elements of the slice as count runs of length
// elements, first at offset and stride apart. The runs of the next unit are
// those of this one, length elements further on.
func (s Slice) Span(unit int) (offset, length, stride, count int) {
	shape := s.Param.Var.Shape
	inner := shape[s.Axis+1:].Elems()
	count = shape[:s.Axis].Elems()
	offset, length, stride = (s.Start+unit*s.Each)*inner, s.Each*inner, shape[s.Axis]*inner
	if s.Repeat > 1 {
		if s.Start != 0 || s.Repeat*s.Every != shape[s.Axis] {
			panic(fmt.Sprintf("nn: %s: a slice that repeats %d times every %d does not fill axis %d of %s", s.Param.Var.Name, s.Repeat, s.Every, s.Axis, shape))
		}
		stride, count = s.Every*inner, count*s.Repeat
	}
	return offset, length, stride, count
}

// Len returns how many elements each unit has.
func (s Slice) Len() int {
	_, length, _, count := s.Span(0)
	return length * count
}

// Mode says what a forward pass is for.
type Mode uint8

const (
	// Evaluation leaves dropout out and normalises batches by the statistics
	// that training collected.
	Evaluation Mode = iota
	// Training drops units out, and normalises a batch by its own statistics,
	// which it adds to the collected ones. One program traces it at most once.
	Training
)

// Network is a function with parameters. Forward may be traced into any number
// of programs.
type Network interface {
	// Params returns the parameters in a fixed order.
	Params() []*Param
	// Units returns the groups of hidden units, input side first.
	Units() []*Units
	// Forward traces the network for a batch [n][inputs].
	Forward(b *graph.Builder, x graph.Node, mode Mode) Activations
}

// Activations are the values of a forward pass.
type Activations struct {
	Output graph.Node // [n][outputs]: logits or predictions
	// Logits is Output before the heads of other tasks are closed; a learner sets
	// it, not the network.
	Logits graph.Node
	// Features are the units' values after the activation, before pools and
	// dropout, parallel to Units: [n·rows][units], where the rows of one example
	// follow each other (see [Units.Rows]), place by place. A channel of a
	// convolution so has a row for every position of the image: means over rows
	// are means over examples and positions, as ReDo and continual backprop
	// define activity of channels. A unit with two outputs has a row for each.
	Features []graph.Node
}

// Size is what a network takes, which its configuration knows before anything
// is allocated. Counts stop at 2^62.
type Size struct {
	Params      int64 // weights, biases and so on
	Activations int64 // values of one example that a training step keeps, about
	Widest      int64 // elements of the largest array for one example
}

// Sizer is implemented by the configurations of networks that come with
// neoteny. Size returns an error, best a *[component.FieldError], where the
// network does not go with examples of that shape or with such batches.
type Sizer interface {
	Size(input tensor.Shape, outputs, batch int) (Size, error)
}

// Imager is implemented by the configurations of networks that read images; all others
// take examples as vectors, or as sequences along their first axis.
type Imager interface{ ReadsImages() }

// ReadAs returns the shape in which a network reads examples of a shape: images
// [height][width][channels]. reorder says that their values are in another order.
func ReadAs(config component.Config, input tensor.Shape, channelsFirst bool) (shape tensor.Shape, reorder bool) {
	if _, ok := config.(Imager); !ok || !channelsFirst || len(input) != 3 {
		return input, false
	}
	return tensor.Shape{input[1], input[2], input[0]}, true
}

// images traces a batch of images [n][height][width][channels] from vectors.
func (e Env) images(b *graph.Builder, x graph.Node, shape tensor.Shape) graph.Node {
	n := x.Shape()[0]
	if e.ChannelsFirst {
		return b.Permute(b.Reshape(x, n, shape[2], shape[0], shape[1]), 0, 2, 3, 1)
	}
	return b.Reshape(x, append([]int{n}, shape...)...)
}

// Env is what a network is built in.
type Env struct {
	Space   graph.Space  // of its variables
	Key     rng.Key      // draws the initial parameters
	Input   tensor.Shape // of one example, as ReadAs returns it
	Outputs int
	// ChannelsFirst says that the values of an image of the shape Input, which is
	// [height][width][channels], come as [channels][height][width].
	ChannelsFirst bool
	// Keys returns the random key of a purpose, for what the network draws while
	// it lives (dropout). It may be nil where the network is not trained.
	Keys func(purpose string) rng.Key
	// Edit, if set, changes the blueprint before parameters are made (the
	// Build hook of methods). Networks that are no chain of layers give it a
	// blueprint without layers.
	Edit func(*Blueprint) error
	// Artifacts are files of other runs, for networks that start from one.
	component.Artifacts
}

var registry = component.NewRegistry[Env, Network]("network")

// Register adds a network component; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Network, error)) {
	component.Add(registry, info, def, presets, build)
}

// Resolved is a network of a spec, ready to build.
type Resolved = component.Resolved[Env, Network]

// Resolve decodes the network object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }

// Nested is a network as a parameter of another component: its name, or an
// object with its kind and parameters.
type Nested struct{ *Resolved }

// NewNested returns the network of an object. It panics if there is none.
func NewNested(raw map[string]any) Nested {
	r, err := registry.Resolve("network", raw)
	if err != nil {
		panic(err)
	}
	return Nested{r}
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Nested) UnmarshalJSON(b []byte) (err error) {
	n.Resolved, err = registry.ResolveJSON(b)
	return err
}

// MarshalJSON implements [json.Marshaler].
func (n Nested) MarshalJSON() ([]byte, error) { return n.CanonicalJSON() }

// JSONSchema implements [component.Schemer].
func (Nested) JSONSchema() map[string]any { return registry.NestedSchema() }
