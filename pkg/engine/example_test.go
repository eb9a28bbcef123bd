package engine_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"neoteny/internal/datastore"
	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// A network learns MNIST online, one digit at a time; its accuracy is that of
// predictions made before learning from the digit. The batches are the
// program's own, no cluster takes part.
func Example() {
	mnist, err := data.NewDir(dataFolder()).Load("mnist") // `neoteny data import mnist` fills the folder
	if err != nil {
		log.Fatal(err)
	}
	info := stream.Info{Input: tensor.Shape(mnist.Shape), Classes: mnist.Classes, Batch: 1}
	l, err := engine.NewLearner(map[string]any{
		"network":   map[string]any{"kind": "mlp", "hidden": []any{100.0, 100.0}, "activation": "relu"},
		"optimizer": map[string]any{"kind": "sgd", "lr": 0.01},
	}, info, 1)
	if err != nil {
		log.Fatal(err)
	}
	batch := stream.NewBatch(info, info.Batch)
	var correct float32
	for i := range 10000 {
		for j, pixel := range mnist.TrainSplit.X[i*784 : (i+1)*784] {
			batch.X[j] = float32(pixel) / 255
		}
		batch.Labels[0] = int32(mnist.TrainSplit.Y[i])
		step := learner.Step{Index: int64(i), Batch: batch}
		if err := l.Step(&step); err != nil {
			log.Fatal(err)
		}
		if i >= 5000 {
			correct += step.Correct[0]
		}
	}
	fmt.Printf("accuracy over the last 5000 of 10000 digits: %.2f\n", correct/5000)
	// Output: accuracy over the last 5000 of 10000 digits: 0.91
}

// A whole run: a stream of tasks, probes, and a sink for what they measure.
func ExampleNew() {
	spec, err := engine.Resolve(engine.RawSpec{
		Stream: map[string]any{"kind": "permuted", "tasks": 2.0, "examples_per_task": 3000.0},
		Learner: map[string]any{
			"network":   map[string]any{"kind": "mlp", "hidden": []any{64.0}},
			"optimizer": map[string]any{"kind": "sgd", "lr": 0.02},
			"methods":   []any{map[string]any{"kind": "continual-backprop"}},
		},
		Probes: []map[string]any{{"kind": "online-accuracy"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	life, err := engine.New(spec, engine.Env{Seed: 1, Data: data.NewDir(dataFolder())})
	if err != nil {
		log.Fatal(err)
	}
	if err := life.Advance(context.Background(), spec.Steps(), tasks{}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// task 0: accuracy 0.8
	// task 1: accuracy 0.8
}

// tasks is a sink that prints the mean of the first column at the end of each
// task.
type tasks struct{}

func (tasks) Rows(engine.Rows) error { return nil }

func (tasks) Boundary(b engine.Boundary) error {
	fmt.Printf("task %d: accuracy %.1f\n", b.Task, b.Table[0])
	return nil
}

// dataFolder returns a data folder that has MNIST; where it is missing, the go
// tool fetches it.
func dataFolder() string {
	dir, err := datastore.DefaultDir()
	if err != nil {
		log.Fatal(err)
	}
	if err := datastore.Ensure(context.Background(), []string{"mnist"}, dir, slog.New(slog.DiscardHandler)); err != nil {
		log.Fatal(err)
	}
	return dir
}
