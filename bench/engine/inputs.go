package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/rng"
)

// examples is how many inputs a benchmark goes round through.
const examples = 4096

// inputs writes the files that every contestant reads its inputs from, each
// when it is first asked for.
type inputs struct {
	dir     string // of the files
	data    string // data folder
	mnist   *data.Dataset
	written map[string]bool
}

func newInputs(dir, dataFolder string) (*inputs, error) {
	if dataFolder == "" {
		var err error
		if dataFolder, err = datastore.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return &inputs{dir: dir, data: dataFolder, written: map[string]bool{}}, nil
}

// load reads MNIST; the data folder is filled from the module cache first
// where that can be done without asking.
func (in *inputs) load(ctx context.Context) error {
	if in.mnist != nil {
		return nil
	}
	if err := datastore.Ensure(ctx, []string{"mnist"}, in.data, slog.New(slog.DiscardHandler)); err != nil {
		return err // says `neoteny data import mnist`
	}
	var err error
	in.mnist, err = data.NewDir(in.data).Load("mnist")
	return err
}

// fill sets the files of a job. Pixels are p/255 (unit) or 2p/255 − 1
// (symmetric); uniform noise is in [0, 1).
func (in *inputs) fill(ctx context.Context, j *job) error {
	switch {
	case j.Kind == "life" || j.Kind == "bare":
		j.Data = in.data
		return in.load(ctx)
	case j.Kind != "train":
		return nil
	}
	name := j.Scale
	if j.Scale == "uniform" {
		name = fmt.Sprintf("uniform-%d-%d", j.Sizes[0], j.Sizes[len(j.Sizes)-1])
	}
	j.X, j.Y = filepath.Join(in.dir, name+".x"), filepath.Join(in.dir, name+".y")
	if in.written[name] {
		return nil
	}
	var x, y []byte
	put := func(b []byte, v float32) []byte { return binary.LittleEndian.AppendUint32(b, math.Float32bits(v)) }
	if j.Scale == "uniform" {
		noise := make([]float32, examples*(j.Sizes[0]+j.Sizes[len(j.Sizes)-1]))
		rng.New(0, "bench").FillUniform(noise, 0, 1, 0)
		for i, v := range noise {
			if i < examples*j.Sizes[0] {
				x = put(x, v)
			} else {
				y = put(y, v)
			}
		}
	} else {
		if err := in.load(ctx); err != nil {
			return err
		}
		for _, p := range in.mnist.TrainSplit.X[:examples*in.mnist.Size()] {
			v := float32(p) / 255
			if j.Scale == "symmetric" {
				v = 2*v - 1
			}
			x = put(x, v)
		}
		for _, label := range in.mnist.TrainSplit.Y[:examples] {
			y = binary.LittleEndian.AppendUint32(y, uint32(label))
		}
	}
	if err := os.WriteFile(j.X, x, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(j.Y, y, 0o600); err != nil {
		return err
	}
	in.written[name] = true
	return nil
}
