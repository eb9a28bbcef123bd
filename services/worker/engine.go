package worker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// maker makes lives of runs from their resolved specs.
type maker interface {
	Compile(canonicalJSON []byte) (program, error)
	// Pack makes lives that advance together, one of each program and origin. Its
	// error says that they must live one by one.
	Pack(programs []program, origins []origin) (pack, error)
}

type program interface {
	New(o origin) (life, error)
}

// life is what a worker advances: an engine.Life, a deferred measurement of one, or
// an analysis. What goes on from where it stops is a checkpointer, too, and what has
// artifacts a publisher.
type life interface {
	Step() int64
	Columns() []engine.Column
	Advance(ctx context.Context, until int64, sink engine.Sink) error
	Load(b []byte) error
}

type checkpointer interface{ Save(w io.Writer) error }

// ender saves as a run that ends where it stands.
type ender interface{ SaveEnd(w io.Writer) error }

type publisher interface {
	Artifact(name string) ([]byte, error)
}

// pack is an engine.Pack: lives that are saved and loaded one by one, and
// advance together.
type pack interface {
	Lives() []life
	Advance(ctx context.Context, until int64, sinks []engine.Sink) []error
}

// origin is what a run starts from beyond its spec.
type origin struct {
	seed     uint32
	inputs   []given // artifacts of other runs
	deferred bool    // a deferred measurement, not the run's life
}

// given is an artifact with its content.
type given struct {
	*pb.Input
	file []byte
}

// artifacts are the inputs of a run that has one of each name.
func (o origin) artifacts() component.Artifacts {
	out := component.Artifacts{}
	for _, in := range o.inputs {
		out[in.GetName()] = in.file
	}
	return out
}

// engineAdapter makes lives of the real engine, over one source of data.
type engineAdapter struct {
	data data.Source
	// records are those that were read last, by the SHA-256 of their JSON: runs of one
	// trial share theirs.
	records *lru[[sha256.Size]byte, *experiment.Record]
}

// maxRecords is how many trials a worker keeps resolved.
const maxRecords = 64

func newEngine(source data.Source) engineAdapter {
	return engineAdapter{source, newLRU[[sha256.Size]byte, *experiment.Record](maxRecords, 0)}
}

func (a engineAdapter) Compile(canonicalJSON []byte) (program, error) {
	sum := sha256.Sum256(canonicalJSON)
	r, ok := a.records.get(sum)
	if !ok {
		var err error
		if r, err = experiment.ReadRecord(canonicalJSON); err != nil {
			return nil, err
		}
		a.records.put(sum, r, 0)
	}
	if r.Analysis != nil {
		return analysisProgram{spec: r.Analysis, data: a.data}, nil
	}
	return engineProgram{spec: r.Spec, data: a.data}, nil
}

// Pack refuses what cannot advance in lockstep: analyses and deferred measurements.
func (a engineAdapter) Pack(programs []program, origins []origin) (pack, error) {
	specs, envs := make([]*engine.Spec, len(origins)), make([]engine.Env, len(origins))
	for i, o := range origins {
		p, ok := programs[i].(engineProgram)
		if !ok || o.deferred {
			return nil, fmt.Errorf("member %d of the pack is an analysis or a deferred measurement: %w", i, engine.ErrNotAlike)
		}
		specs[i], envs[i] = p.spec, p.env(o)
	}
	made, err := engine.NewPack(specs, envs)
	if err != nil {
		return nil, err
	}
	return packAdapter{made}, nil
}

type engineProgram struct {
	spec *engine.Spec
	data data.Source
}

func (p engineProgram) New(o origin) (life, error) {
	if o.deferred {
		a, err := engine.NewDeferred(p.spec, p.env(o))
		if err != nil {
			return nil, err
		}
		return a, nil
	}
	l, err := engine.New(p.spec, p.env(o))
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (p engineProgram) env(o origin) engine.Env {
	return engine.Env{Seed: o.seed, Data: p.data, Artifacts: o.artifacts()}
}

type packAdapter struct{ *engine.Pack }

func (a packAdapter) Lives() []life {
	out := make([]life, 0, len(a.Pack.Lives()))
	for _, l := range a.Pack.Lives() {
		out = append(out, l)
	}
	return out
}
