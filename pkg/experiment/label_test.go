package experiment

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLabel(t *testing.T) {
	for want, params := range map[string]map[string]string{
		"":                    nil,
		"lr=0.1":              {"learner.optimizer.lr": "0.1"},
		"λ=1e-4 lr=0.001":     {"learner.methods[l2].lambda": "0.0001", "learner.optimizer.lr": "0.00099999999999999999"},
		"λ=0.5 batch=32":      {"learner.methods[0].lambda": "0.5", "stream.batch": "32"},
		"ewc.λ=1 l2.λ=2.5e-5": {"learner.methods[ewc].lambda": "1", "learner.methods[l2].lambda": "2.5e-05"},
		"methods.0=a methods.1=b": {
			"learner.methods[0]": `"a"`, "learner.methods[1]": `"b"`,
		},
		"hidden=[10,10] kind=adam": {"learner.network.hidden": "[10,10]", "learner.optimizer.kind": `"adam"`},
		"steps=1e6 tau=1e6":        {"stream.steps": "1000000", "x.tau": "1e6"},
	} {
		require.Equal(t, want, Label(params))
	}
	ref := `"own:float32:4:classes=3:fewest=40:train=120:test=30:sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"`
	require.Regexp(t, `^dataset=.{1,40}$`, Label(map[string]string{"stream.dataset": ref}))
	require.Equal(t, map[string]string{"a.b.lr": "b.lr", "a.c.lr": "c.lr"}, ShortNames([]string{"a.b.lr", "a.c.lr"}))
}
