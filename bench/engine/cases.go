package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// job is what a contestant is asked to do over and over; it travels as JSON.
type job struct {
	Kind string `json:"kind"` // train, life, bare, gemm, stream or peak

	// Training.
	Network   string `json:"network,omitempty"` // mlp or cnn
	Sizes     []int  `json:"sizes,omitempty"`   // inputs, hidden layers, outputs
	Classes   int    `json:"classes,omitempty"` // 0 for regression
	Batch     int    `json:"batch,omitempty"`
	Optimizer string `json:"optimizer,omitempty"` // sgd, adam, adamw, upgd: each side knows the settings
	Lanes     int    `json:"lanes,omitempty"`     // parameter sets trained at once; 0 and 1 are one
	Scale     string `json:"scale,omitempty"`     // unit or symmetric MNIST, or uniform noise
	Warmup    int    `json:"warmup,omitempty"`    // steps before measuring
	Examples  int    `json:"examples,omitempty"`  // in the files X and Y
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	Data      string `json:"data,omitempty"`    // data folder, for whole runs
	Metrics   string `json:"metrics,omitempty"` // address of the metrics service, "" discards; the parent starts it

	// Kernels.
	Impl string `json:"impl,omitempty"` // whose: ours or gonum; which stream or peak
	Form string `json:"form,omitempty"` // NN, TN, NT or TT
	M    int    `json:"m,omitempty"`
	N    int    `json:"n,omitempty"`
	K    int    `json:"k,omitempty"`
}

// A benchCase is one line of the results: our job, and whom it is held against.
type benchCase struct {
	name   string
	group  string // heading of its table
	job    job
	peer   string   // torch, c, openblas, bare or copy
	target *float64 // least ratio of the peer's time to ours, nil for none
	peak   float64  // least fraction of the measured FMA peak, 0 for none
	also   []string // more contestants, for the tables: gonum
	bytes  float64  // that one call of a streaming kernel moves
	note   string   // printed with the result
}

// Groups, in the order of the report.
const (
	groupTrain  = "Training steps"
	groupC      = "Against C"
	groupWhole  = "A whole run"
	groupWidth  = "Width"
	groupDepth  = "Depth"
	groupBatch  = "Batch"
	groupGEMM   = "Matrix products"
	groupStream = "Streaming kernels"
)

func atLeast(ratio float64) *float64 { return &ratio }

// sized is a network over MNIST: 784 inputs, hidden layers, 10 classes.
func sized(batch int, optimizer string, hidden ...int) job {
	return job{
		Kind: "train", Network: "mlp", Sizes: append(append([]int{784}, hidden...), 10), Classes: 10,
		Batch: batch, Optimizer: optimizer, Scale: "unit",
	}
}

func allCases() []benchCase {
	tiny := job{Kind: "train", Network: "mlp", Sizes: []int{20, 5, 1}, Batch: 1, Optimizer: "sgd", Scale: "uniform"}
	lanes := tiny
	lanes.Lanes = 64
	cnn := sized(32, "adam", 100)
	cnn.Network = "cnn"
	dense := func(optimizer string) job {
		j := sized(1, optimizer, 300, 150)
		j.Scale = "symmetric"
		return j
	}
	cases := []benchCase{
		{name: "20-5-1 batch 1 sgd", job: tiny, target: atLeast(150)},
		{name: "20-5-1 batch 1 sgd, 64 lanes, per seed", job: lanes, target: atLeast(1000)},
		{name: "784-100x3-10 batch 1 sgd", job: sized(1, "sgd", 100, 100, 100), target: atLeast(30)},
		{name: "784-1000x3-10 batch 1 sgd", job: sized(1, "sgd", 1000, 1000, 1000), target: atLeast(10)},
		{name: "784-2000x3-10 batch 1 sgd", job: sized(1, "sgd", 2000, 2000, 2000), target: atLeast(10)},
		{name: "784-100x3-10 batch 1 adam", job: sized(1, "adam", 100, 100, 100), target: atLeast(10)},
		{name: "784-100x3-10 batch 32 adam", job: sized(32, "adam", 100, 100, 100), target: atLeast(4)},
		{name: "784-256x2-10 batch 64 adam", job: sized(64, "adam", 256, 256), target: atLeast(2.2)},
		{name: "784-2000x3-10 batch 256 sgd", job: sized(256, "sgd", 2000, 2000, 2000), target: atLeast(0.8)},
		{name: "cnn 16c5-pool-16c5-pool-100 batch 32 adam", job: cnn, target: atLeast(1.5)},
		{name: "dense 784-300-150-10 batch 1 adamw", job: dense("adamw"), target: atLeast(4)},
		{name: "dense 784-300-150-10 batch 1 upgd", job: dense("upgd"), target: atLeast(4)},
	}
	for i := range cases {
		cases[i].group, cases[i].peer = groupTrain, "torch"
	}
	for _, width := range []int{100, 1000, 2000} {
		cases = append(cases, benchCase{
			name: fmt.Sprintf("c/784-%dx3-10 batch 1 sgd", width), group: groupC, peer: "c",
			job: sized(1, "sgd", width, width, width), target: atLeast(1 / 1.5),
		})
	}
	whole := func(name, kind, peer, note string, target *float64) {
		j := sized(1, "sgd", 100, 100, 100)
		j.Kind = kind
		if name == "metrics" {
			j.Metrics = "to be started"
		}
		cases = append(cases, benchCase{
			name: "run/784-100x3-10 batch 1 sgd, " + name, group: groupWhole, peer: peer, job: j, target: target, note: note,
		})
	}
	whole("metrics", "life", "bare", "metrics: permuted MNIST, loss and accuracy of every step sent to a metrics service; bare: the learner on the same stream", atLeast(1/1.05))
	whole("discarded", "life", "bare", "discarded: the same, measured and recorded, but not sent", nil)
	whole("stream", "bare", "ready", "stream: the learner on the stream; ready: the learner on batches that lie ready", nil)
	for _, width := range []int{10, 20, 50, 100, 200, 500, 1000, 2000} {
		cases = append(cases, benchCase{
			name: fmt.Sprintf("width/%d", width), group: groupWidth, peer: "torch",
			job: sized(1, "sgd", width, width, width), note: "784-WIDTHx3-10, batch 1, SGD",
		})
	}
	for depth := 1; depth <= 5; depth++ {
		cases = append(cases, benchCase{
			name: fmt.Sprintf("depth/%d", depth), group: groupDepth, peer: "torch",
			job: sized(1, "sgd", slices.Repeat([]int{100}, depth)...), note: "784-100xDEPTH-10, batch 1, SGD",
		})
	}
	for _, optimizer := range []string{"sgd", "adam"} {
		for batch := 1; batch <= 256; batch *= 2 {
			cases = append(cases, benchCase{
				name: fmt.Sprintf("batch/%d %s", batch, optimizer), group: groupBatch, peer: "torch",
				job: sized(batch, optimizer, 100, 100, 100), note: "784-100x3-10; time of a step, not of an example",
			})
		}
	}
	for i := range cases {
		j := &cases[i].job
		j.Examples = examples
		// Enough steps to be warm, and few where one takes long.
		j.Warmup = 64
		if j.work() > 1e9 {
			j.Warmup = 4
		}
		if j.Kind == "train" && j.Batch >= 16 { // products bound these
			cases[i].also = []string{"peak"}
		}
	}
	return append(cases, kernelCases()...)
}

// work is how many floating-point operations the products of a training step
// have: forward, weight gradients, and input gradients of all layers but the
// first. Zeros count.
func (j job) work() float64 {
	layers := [][2]float64{} // multiply-adds per example, and how often
	if j.Network == "cnn" {
		layers = append(layers, [2]float64{24 * 24 * 16 * 25, 2}, [2]float64{8 * 8 * 16 * 16 * 25, 3}, [2]float64{256 * 100, 3}, [2]float64{100 * 10, 3})
	} else {
		for i := 1; i < len(j.Sizes); i++ {
			layers = append(layers, [2]float64{float64(j.Sizes[i-1]) * float64(j.Sizes[i]), float64(min(i+1, 3))})
		}
	}
	var n float64
	for _, l := range layers {
		n += 2 * l[0] * l[1] * float64(j.Batch)
	}
	return n
}

// params is how many parameters the network has.
func (j job) params() int {
	if j.Network == "cnn" {
		return 16*25 + 16 + 16*16*25 + 16 + 256*100 + 100 + 100*10 + 10
	}
	n := 0
	for i := 1; i < len(j.Sizes); i++ {
		n += (j.Sizes[i-1] + 1) * j.Sizes[i]
	}
	return n
}

func choose(cases []benchCase, filter *regexp.Regexp) []benchCase {
	return slices.DeleteFunc(cases, func(c benchCase) bool { return !filter.MatchString(c.name) })
}

// targetText says what a case must reach, "" where nothing.
func (c benchCase) targetText() string {
	var parts []string
	if c.target != nil {
		parts = append(parts, fmt.Sprintf("≥ %s× %s", bound(*c.target), c.peer))
	}
	if c.peak > 0 {
		parts = append(parts, fmt.Sprintf("≥ %.0f %% of peak", 100*c.peak))
	}
	return strings.Join(parts, ", ")
}
