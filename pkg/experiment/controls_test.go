package experiment

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestControls(t *testing.T) {
	base := map[string]string{
		"arms": "arms: {plain: {learner: {methods: []}}, wide: {learner: {network: {hidden: [16]}}}}",
	}
	with := func(controls string) map[string]string {
		return map[string]string{"arms": base["arms"], "more": "controls: " + controls + "\n"}
	}
	p := expand(t, with("[linear, {linear: {of: wide}}, normalized-sgd, {normalized-sgd: {of: plain, lr: 0.5}}]"))
	require.Equal(t, []string{"linear", "normalized-sgd", "plain", "plain-normalized-sgd", "wide", "wide-linear"}, p.Arms)
	trials := trialsByName(p)
	learner := func(name string) map[string]any { return trials[name].Spec.Canonical()["learner"].(map[string]any) }
	network := func(name string) map[string]any { return learner(name)["network"].(map[string]any) }
	require.Empty(t, network("linear")["hidden"])
	require.Empty(t, network("wide-linear")["hidden"])
	require.Empty(t, learner("linear")["methods"])
	require.Equal(t, network("normalized-sgd")["hidden"], []any{8.0})
	require.Equal(t, 0.01, learner("normalized-sgd")["optimizer"].(map[string]any)["lr"])
	require.Equal(t, 0.5, learner("plain-normalized-sgd")["optimizer"].(map[string]any)["lr"])
	require.Equal(t, "input-normalizer", learner("normalized-sgd")["methods"].([]any)[0].(map[string]any)["kind"])
	require.Len(t, learner("normalized-sgd")["methods"], 1)

	p = expand(t, with("[fresh-network, {fresh-network: {of: plain}}]"))
	trials = trialsByName(p)
	require.Equal(t, []string{"fresh-network", "plain", "plain-fresh-network", "wide"}, p.Arms)
	methods := learner("fresh-network")["methods"].([]any)
	require.Len(t, methods, 2, "behind those that the base has")
	require.Equal(t, "test-decay", methods[0].(map[string]any)["kind"])
	require.Equal(t, "fresh-network", methods[1].(map[string]any)["kind"])
	require.Len(t, learner("plain-fresh-network")["methods"], 1)

	// Without arms the base stays.
	require.Equal(t, []string{"base", "linear"}, expand(t, map[string]string{"more": "controls: [linear]\n"}).Arms)

	for in, want := range map[string]string{
		"[fresh]":                           `controls[0]: there is no control "fresh"`,
		"[fresh-netwok]":                    `did you mean "fresh-network"?`,
		"[linear, linear]":                  `controls[1]: there is an arm "linear" already`,
		"[{linear: {of: wid}}]":             `controls[0].linear.of: there is no arm "wid", did you mean "wide"?`,
		"[{linear: {off: wide}}]":           `controls[0].linear.off`,
		"[{linear: {}, fresh-network: {}}]": `controls[0]: must be a name, or an object with one`,
		"[3]":                               `controls[0]: must be a name such as fresh-network, is 3`,
		"[{normalized-sgd: {lr: -1}}]":      `learner.optimizer.lr`,
	} {
		require.ErrorContains(t, Validate(parse(t, with(in))), want, in)
	}
	// A control does without probes of what it has not; an arm does not, nor does a
	// control in which something else is wrong.
	units := with("[linear, {linear: {of: wide}}, normalized-sgd]")
	units["probes"] = "probes: [{kind: test-accuracy}, {kind: test-units}, {kind: test-dormant}]"
	p = expand(t, units)
	require.Equal(t, []Skipped{
		{"linear", "test-units", `test-units needs a network with hidden units; learner.network has none (stream "test-stream")`},
		{"wide-linear", "test-units", `test-units needs a network with hidden units; learner.network has none (stream "test-stream")`},
	}, p.Skipped)
	trials = trialsByName(p)
	require.Equal(t, []string{"test_accuracy", "test_dormant"}, trials["linear"].Spec.Metrics())
	require.Equal(t, []string{"test_accuracy", "test_units", "test_dormant"}, trials["wide"].Spec.Metrics())
	units["arms"] = "arms: {plain: {learner: {methods: []}}, wide: {learner: {network: {hidden: []}}}}"
	require.ErrorContains(t, Validate(parse(t, units)), "test-units needs a network with hidden units")
	units = with("[linear]")
	units["probes"] = "probes: [{kind: test-accuracy, tau: 1}, {kind: test-units}]"
	require.ErrorContains(t, Validate(parse(t, units)), "probes[0].tau")

	adam := with("[normalized-sgd]")
	adam["learner"] = "learner:\n  network: {kind: mlp, hidden: [8]}\n  optimizer: {kind: adam}"
	require.ErrorContains(t, Validate(parse(t, adam)), "controls[0]: the arm's optimiser is not sgd: say which step size")
}
