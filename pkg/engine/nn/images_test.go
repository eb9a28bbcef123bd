package nn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// Networks that read images give the same for an image whose channels come first as for
// one whose channels come last, and the same gradients; all others take values as they come.
func TestChannelsFirst(t *testing.T) {
	const n, c, h, w = 2, 3, 6, 5
	for _, raw := range []map[string]any{
		{"kind": "cnn", "convolutions": []any{map[string]any{"channels": 4.0, "kernel": 3.0, "pool": 2.0}}, "hidden": []any{5.0}},
		{"kind": "resnet", "blocks": []any{1.0}, "width": 4.0},
	} {
		r, err := Resolve("network", raw)
		require.NoError(t, err)
		shape, reorder := ReadAs(r.Config, tensor.Shape{c, h, w}, true)
		require.Equal(t, tensor.Shape{h, w, c}, shape)
		require.True(t, reorder)
		run := func(channelsFirst bool) (x, output, gradient []float32) {
			store := graph.NewStore()
			net, err := r.Build(Env{
				Space: store.Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: shape, Outputs: 2, ChannelsFirst: channelsFirst,
			})
			require.NoError(t, err)
			b := graph.NewBuilder()
			in := b.Input("x", n, c*h*w)
			y := net.Forward(b, in, Training).Output
			b.Output("y", y)
			b.Output("g", b.Gradients(b.Sum(b.Square(y)), b.Read(net.Params()[0].Var))[0])
			p := b.Compile()
			for i := range n {
				for k := range c {
					for place := range h * w {
						at := place*c + k
						if channelsFirst {
							at = k*h*w + place
						}
						p.Input("x")[i*c*h*w+at] = rng.New(2, "x").Float32(uint64(i*c+k), uint64(place))
					}
				}
			}
			p.Run(0)
			return p.Input("x"), p.Output("y"), p.Output("g")
		}
		x, y, g := run(false)
		x2, y2, g2 := run(true)
		require.NotEqual(t, x, x2)
		require.Equal(t, y, y2, "%v", raw)
		require.Equal(t, g, g2, "%v", raw)
	}
	for _, kind := range []string{"mlp", "lstm", "transformer"} {
		r, err := Resolve("network", map[string]any{"kind": kind})
		require.NoError(t, err)
		shape, reorder := ReadAs(r.Config, tensor.Shape{c, h, w}, true)
		require.Equal(t, tensor.Shape{c, h, w}, shape)
		require.False(t, reorder)
	}
}
