package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

type object = map[string]any

// optimizers are what the names in jobs mean to us; peers/peer.py has the same.
var optimizers = map[string]object{
	"sgd":   {"optimizer": object{"kind": "sgd", "lr": 1e-3}},
	"adam":  {"optimizer": object{"kind": "adam", "lr": 1e-3}},
	"adamw": {"optimizer": object{"kind": "adamw", "lr": 1e-4, "beta1": 0.0, "beta2": 0.99, "weight_decay": 0.0}},
	"upgd":  {"optimizer": object{"kind": "upgd", "lr": 0.01, "beta": 0.9999, "sigma": 0.1, "weight_decay": 0.01}},
}

// spec returns the learner of a job as a spec has it.
func (j job) spec() (object, error) {
	l := object{}
	for k, v := range optimizers[j.Optimizer] {
		l[k] = v
	}
	switch j.Network {
	case "mlp":
		var hidden []any
		for _, n := range j.Sizes[1 : len(j.Sizes)-1] {
			hidden = append(hidden, float64(n))
		}
		l["network"] = object{"kind": "mlp", "hidden": hidden, "activation": "relu", "init": "pytorch"}
	case "cnn":
		// Its defaults are the network of the case.
		l["network"] = object{"kind": "cnn", "init": "pytorch"}
	default:
		return nil, fmt.Errorf("unknown network %q", j.Network)
	}
	return l, nil
}

// examplesOf is where a job's batches come from: views of its files, round and
// round, as the peer's are.
type examplesOf struct {
	job
	x, targets []float32
	labels     []int32
}

func readExamples(j job) (*examplesOf, error) {
	e := &examplesOf{job: j}
	var err error
	if e.x, err = readFloats(j.X, j.Examples*j.inputs()); err != nil {
		return nil, err
	}
	if j.Classes > 0 {
		e.labels, err = readInts(j.Y, j.Examples)
	} else {
		e.targets, err = readFloats(j.Y, j.Examples*j.outputs())
	}
	return e, err
}

// set makes a batch the one that follows the given number of batches.
func (e *examplesOf) set(b *stream.Batch, before int64) {
	at := int(before * int64(e.Batch) % int64(e.Examples-e.Batch+1))
	b.N = e.Batch
	b.X = e.x[at*e.inputs() : (at+e.Batch)*e.inputs()]
	if e.labels != nil {
		b.Labels = e.labels[at : at+e.Batch]
	} else {
		b.Targets = e.targets[at*e.outputs() : (at+e.Batch)*e.outputs()]
	}
}

func (j job) inputs() int  { return j.Sizes[0] }
func (j job) outputs() int { return j.Sizes[len(j.Sizes)-1] }

func (j job) info() stream.Info {
	info := stream.Info{Input: tensor.Shape{j.inputs()}, Classes: j.Classes, Outputs: j.outputs(), Batch: j.Batch}
	if j.Network == "cnn" {
		info.Input = tensor.Shape{28, 28}
	}
	return info
}

// prepareTraining makes a learner and warms it up.
func prepareTraining(j job) (*task, error) {
	spec, err := j.spec()
	if err != nil {
		return nil, err
	}
	e, err := readExamples(j)
	if err != nil {
		return nil, err
	}
	if j.Lanes > 1 {
		return prepareLanes(e, spec)
	}
	l, err := engine.NewLearner(spec, j.info(), 0)
	if err != nil {
		return nil, notBuilt(err)
	}
	var batch stream.Batch
	s := learner.Step{Index: -1}
	step := func() error {
		s = learner.Step{Index: s.Index + 1, TaskStep: s.Index + 1, Batch: &batch}
		e.set(&batch, s.Index)
		return l.Step(&s)
	}
	return warm(j, &task{step: step, units: 1}, func() float32 { return s.Loss })
}

// prepareLanes makes a learner per lane, each with a seed of its own; all go
// through the same batches, as the seeds of a trial do.
func prepareLanes(e *examplesOf, spec object) (*task, error) {
	seeds := make([]uint32, e.Lanes)
	for i := range seeds {
		seeds[i] = uint32(i)
	}
	l, err := engine.NewLanes(spec, e.info(), seeds)
	if err != nil {
		return nil, notBuilt(err)
	}
	var batch stream.Batch
	steps := make([]learner.Step, e.Lanes)
	index := int64(-1)
	step := func() error {
		index++
		e.set(&batch, index)
		for i := range steps {
			steps[i] = learner.Step{Index: index, TaskStep: index, Batch: &batch}
		}
		return l.Step(steps)
	}
	return warm(e.job, &task{step: step, units: float64(e.Lanes)}, func() float32 { return steps[0].Loss })
}

// warm makes the first steps and notes their mean loss.
func warm(j job, t *task, loss func() float32) (*task, error) {
	for range j.Warmup {
		if err := t.step(); err != nil {
			return nil, err
		}
		t.loss += float64(loss()) / float64(j.Warmup)
	}
	return t, nil
}

// notBuilt marks the error of a spec whose component does not exist.
func notBuilt(err error) error {
	for _, e := range component.FieldErrors(err) {
		if strings.HasSuffix(e.Field, ".kind") {
			return fmt.Errorf("%w: %w", errNotBuilt, err)
		}
	}
	return err
}

// readFloats reads a file of n little-endian float32.
func readFloats(path string, n int) ([]float32, error) {
	x := tensor.Float32s(n)
	err := readWords(path, n, func(i int, word uint32) { x[i] = math.Float32frombits(word) })
	return x, err
}

func readInts(path string, n int) ([]int32, error) {
	x := make([]int32, n)
	err := readWords(path, n, func(i int, word uint32) { x[i] = int32(word) })
	return x, err
}

// readWords reads a file of n words of 32 bits without holding it in memory,
// which is measured.
func readWords(path string, n int, put func(i int, word uint32)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var b [4]byte
	for i := range n {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		put(i, binary.LittleEndian.Uint32(b[:]))
	}
	return nil
}
