package recipes_test

import (
	"testing"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment"
)

const sweep = `
name: sweep
stream: {kind: permuted, dataset: mnist, tasks: 20, examples_per_task: 3000, batch: 1}
learner:
  network: {kind: mlp, hidden: [64, 64]}
  optimizer: {kind: sgd, lr: 0.02}
probes: [{kind: online-accuracy}, {kind: dormant-units}, {kind: effective-rank}]
arms:
  backprop: {}
  l2: {learner: {methods: [{kind: l2, lambda: 0.001}]}}
  continual-backprop: {learner: {methods: [{kind: continual-backprop, replacement_rate: 1.0e-4}]}}
sweep: {grid: {learner.optimizer.lr: [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001], stream.batch: [1, 2, 4]}}
select: {metric: online_accuracy, mode: max, confirm_seeds: {count: 3}}
seeds: {count: 100}
`

func benchExpand(b *testing.B) {
	b.ReportAllocs()
	spec, err := experiment.Parse([]byte(sweep))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		plan, err := experiment.Expand(spec)
		if err != nil {
			b.Fatal(err)
		}
		for _, t := range plan.Trials {
			record := t.SpecJSON()
			runKeys(b, record, t.Seeds)
		}
	}
}

func runKeys(b *testing.B, record []byte, seeds []uint32) {
	r, err := experiment.ReadRecord(record)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range seeds {
		if _, err := r.RunKey(s, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExpand plans 3 arms of 30 trials and names their 9,000 runs.
func BenchmarkExpand(b *testing.B) { benchExpand(b) }
