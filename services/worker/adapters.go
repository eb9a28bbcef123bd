package worker

import (
	"context"
	"fmt"
	"time"

	"neoteny/internal/cluster"
	"neoteny/internal/metricsclient"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// clusterAdapter makes a cluster.Client a membership.
type clusterAdapter struct{ *cluster.Client }

func (a clusterAdapter) Register(ctx context.Context, w *pb.Worker, ttl time.Duration) (registration, error) {
	r, err := a.Client.Register(ctx, w, ttl)
	if err != nil {
		return nil, err // not a nil *Registration in an interface
	}
	return r, nil
}

// metricsAdapter makes a metricsclient.Client the worker's metrics.
type metricsAdapter struct{ *metricsclient.Client }

func (a metricsAdapter) Open(run, track, arm string, attempt, firstStep int64) (metricWriter, error) {
	w, err := a.Client.Open(run, track, arm, attempt, firstStep)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// engineAdapter makes lives of the real engine, over one source of data.
type engineAdapter struct{ data data.Source }

func (a engineAdapter) Compile(canonicalJSON []byte) (program, error) {
	analysis, err := experiment.AnalysisFromCanonical(canonicalJSON)
	if err != nil {
		return nil, err
	}
	if analysis != nil {
		return analysisProgram{spec: analysis, data: a.data}, nil
	}
	spec, err := experiment.SpecFromCanonical(canonicalJSON)
	if err != nil {
		return nil, err
	}
	return engineProgram{spec: spec, data: a.data}, nil
}

type engineProgram struct {
	spec *engine.Spec
	data data.Source
}

func (p engineProgram) env(o origin) engine.Env {
	return engine.Env{Seed: o.seed, Data: p.data, Artifacts: o.artifacts()}
}

func (p engineProgram) New(o origin) (life, error) {
	if o.aside {
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

// Pack refuses what cannot advance in lockstep: analyses and deferred measurements.
func (a engineAdapter) Pack(programs []program, origins []origin) (pack, error) {
	specs, envs := make([]*engine.Spec, len(origins)), make([]engine.Env, len(origins))
	for i, o := range origins {
		p, ok := programs[i].(engineProgram)
		if !ok || o.aside {
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

type packAdapter struct{ *engine.Pack }

func (a packAdapter) Lives() []life {
	out := make([]life, 0, len(a.Pack.Lives()))
	for _, l := range a.Pack.Lives() {
		out = append(out, l)
	}
	return out
}
