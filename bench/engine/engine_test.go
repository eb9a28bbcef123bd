package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain makes the test binary the measured process when it is started as
// one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "--child" {
		if err := serve(os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"--case", "x", "--json", "--rounds", "3", "--clock", "cpu", "--peer", "none"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "x", o.cases)
	require.True(t, o.json)
	require.Equal(t, 3, o.measure.rounds)
	require.False(t, o.measure.peer)
	for _, bad := range [][]string{
		{"--rounds", "0"}, {"--seconds", "-1"}, {"--peer", "jax"}, {"--clock", "sun"}, {"--json", "--markdown"}, {"what"}, {"--nope"},
	} {
		_, err := parseOptions(bad, io.Discard)
		require.Error(t, err, bad)
	}
	for _, bad := range [][]string{{"--case", "("}, {"--case", "no such case"}, {"--from", "/nonexistent"}} {
		require.Error(t, run(t.Context(), bad, nil, io.Discard, io.Discard), bad)
	}
}

// Every case has a name and a table of its own, and a learner that the engine
// takes or does not have yet.
func TestCases(t *testing.T) {
	names := map[string]bool{}
	for _, c := range allCases() {
		require.False(t, names[c.name], c.name)
		names[c.name] = true
		known := false
		for _, g := range groups {
			known = known || g.name == c.group
		}
		require.True(t, known, c.group)
		require.NotEmpty(t, c.peer, c.name)
		if c.job.Kind == "train" {
			_, err := c.job.spec()
			require.NoError(t, err, c.name)
			require.Positive(t, c.job.Warmup)
			require.Positive(t, c.job.params())
		}
	}
	var list bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--list", "--case", "^784-100x3-10 batch 1 sgd"}, nil, &list, io.Discard))
	require.Regexp(t, `^784-100x3-10 batch 1 sgd +≥ 30× torch\n$`, list.String())
}

// Contestants are processes; --json has one line per case, from which tables
// and the document can be made again.
func TestMeasure(t *testing.T) {
	var out, progress bytes.Buffer
	err := run(t.Context(), []string{"--case", `^20-5-1|gemm/NN 16|stream/sum 16`, "--json", "--rounds", "2", "--seconds", "0.01", "--peer", "none"},
		nil, &out, &progress)
	require.NoError(t, err)
	results := map[string]map[string]any{}
	for line := range strings.Lines(out.String()) {
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		if m, ok := r["machine"]; ok {
			require.NotEmpty(t, m.(map[string]any)["isa"])
			continue
		}
		results[r["case"].(string)] = r
	}
	require.Len(t, results, 4)
	single := results["20-5-1 batch 1 sgd"]
	require.Positive(t, single["ours_us"])
	require.Len(t, single["ours_rounds_us"], 2)
	require.Equal(t, "torch", single["peer"])
	require.Contains(t, single["missing"], "--peer none")
	require.Positive(t, single["ours_loss"])
	lanes := results["20-5-1 batch 1 sgd, 64 lanes, per seed"]
	require.InEpsilon(t, single["ours_loss"], lanes["ours_loss"], 1e-6, "the first lane is the single learner")
	require.Positive(t, results["gemm/NN 16x16x16"]["gflops"])
	require.Positive(t, results["gemm/NN 16x16x16"]["gonum_gflops"])
	sum := results["stream/sum 16 KiB"]
	require.Positive(t, sum["ratio"])
	// A copy moves two arrays, a sum reads one: half of the copy's time is its measure.
	require.InEpsilon(t, sum["gb_s"].(float64)/sum["peer_gb_s"].(float64), sum["ratio"], 1e-9)

	file := filepath.Join(t.TempDir(), "all.jsonl")
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
	var again bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--from", file, "--json"}, nil, &again, io.Discard))
	require.Equal(t, out.String(), again.String())
	var text bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--from", file, "--case", "stream"}, nil, &text, io.Discard))
	require.Contains(t, text.String(), "stream/sum 16 KiB")
	require.NotContains(t, text.String(), "gemm")
	var markdown bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--from", file, "--markdown"}, nil, &markdown, io.Discard))
	require.Contains(t, markdown.String(), "| 20-5-1 batch 1 sgd | ")
	require.Contains(t, markdown.String(), "not measured")
}

// With both sides at hand, they do the same work.
func TestPeers(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import torch").Run() != nil {
		t.Skip("no PyTorch in /usr/bin/python3")
	}
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--case", `^(784-100x3-10 batch 1 (sgd|adam)|c/784-100x)`, "--json", "--rounds", "1", "--seconds", "0.01"},
		nil, &out, io.Discard))
	for line := range strings.Lines(out.String()) {
		var r result
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		if r.Peer == "torch" {
			require.Empty(t, r.Missing)
			require.Positive(t, r.Ratio)
			require.InEpsilon(t, r.PeerLoss, r.OursLoss, 0.15)
		}
	}
}

func TestMissingPeersAreNamed(t *testing.T) {
	var out, progress bytes.Buffer
	err := run(t.Context(), []string{"--case", `^20-5-1 batch 1 sgd$|^gemm/NN 16`, "--rounds", "1", "--seconds", "0.01", "--python", "/nonexistent", "--cc", "/nonexistent"},
		nil, &out, &progress)
	require.NoError(t, err)
	require.Contains(t, progress.String(), "apt-get install python3-torch")
	require.Contains(t, out.String(), "/nonexistent")
	require.Regexp(t, `20-5-1 batch 1 sgd +[0-9.]+ +–`, out.String(), "ours is measured all the same")
}

func TestServeRefuses(t *testing.T) {
	for request, want := range map[string]string{
		`{"op":"run"}`:                                     "nothing is prepared",
		`{"op":"dance"}`:                                   "unknown request",
		`{"op":"prepare","job":{"kind":"x"}}`:              "unknown job",
		`{"op":"prepare","job":{"kind":"stream"}}`:         "unknown kernel",
		`{"op":"prepare","job":{"kind":"gemm","form":""}}`: "unknown",
	} {
		var out bytes.Buffer
		require.NoError(t, serve(strings.NewReader(request), &out), request)
		require.Contains(t, out.String(), want)
	}
	require.Error(t, serve(strings.NewReader("not JSON"), io.Discard))
}

func TestVerdicts(t *testing.T) {
	c := benchCase{job: job{Kind: "gemm", M: 10, N: 10, K: 10}, target: atLeast(2), peak: 0.5}
	r := result{Ours: 1, PeerUS: 4, Ratio: 4, PeakFraction: 0.6, Target: c.target, PeakTarget: c.peak}
	r.derive(c, nil, "wall")
	require.True(t, *r.Met)
	require.InDelta(t, 2.0, r.GFLOPS, 1e-9)
	r.PeakFraction, r.Met = 0.4, nil
	r.derive(c, nil, "wall")
	require.False(t, *r.Met)
	require.Equal(t, "40 % of peak, target 50 %", shortfall(r))
	r.PeakFraction, r.Met = 0, nil
	r.derive(c, nil, "wall")
	require.Nil(t, r.Met, "without a peak nothing is known")
	require.Equal(t, "not measured", verdict(r))
	c = benchCase{job: job{Kind: "life"}, target: atLeast(0.9)}
	r = result{Ours: 1, Ratio: 1, Target: c.target, OursMiB: 130, MostMiB: 120}
	r.derive(c, nil, "wall")
	require.False(t, *r.Met)
	require.Equal(t, "130 MiB, at most 120", shortfall(r))

	rep := reporter{results: []result{
		{Case: "stream/adam 256 KiB", Group: groupStream, Ours: 32.768},
		{Case: "stream/adam 64 MiB", Group: groupStream, Ours: 1 << 24 / 1e3},
		{Case: "x adam", Group: groupTrain, Ours: 100, ParamsMiB: 1e5 / (1 << 18)},
		{Case: "y adamw", Group: groupTrain, Ours: 20000, ParamsMiB: 1e7 / (1 << 18)},
	}}
	require.Contains(t, rep.adam(), "0.500 ns a weight\nwith arrays of 256 KiB, 1.00 ns a weight\nwith arrays of 64 MiB")
	require.Contains(t, rep.adam(), "- 50.0 µs of the 100 µs of x adam,\n- 10000 µs of the 20000 µs of y adamw.\n")
	require.Equal(t, "1000", bound(1000))
	require.Equal(t, "0.952", bound(1/1.05))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	require.Zero(t, median(nil))
}

func TestChoose(t *testing.T) {
	require.Len(t, choose(allCases(), regexp.MustCompile(`^c/`)), 3)
	require.Len(t, choose(allCases(), regexp.MustCompile("")), len(allCases()))
}
