// Package model is what the coordinator has to know about experiments. What it
// does with runs and segments depends on nothing else of them.
package model

import (
	"strings"

	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/seeds"
)

// Model plans experiments and picks their trials.
type Model interface {
	// Plan validates and expands a spec. Mistakes in it are
	// *component.FieldError values, joined.
	Plan(spec *pb.ExperimentSpec) (*Plan, error)
	// Record reads the canonical spec of a trial, once for all its runs.
	Record(canonicalSpec []byte) (Record, error)
	// Select picks a trial per arm by the task tables of finished runs; an arm
	// without one is missing.
	Select(spec *pb.ExperimentSpec, runs []report.RunTable) (map[string]string, error)
}

// Record is a trial whose runs are to be named.
type Record interface {
	// RunKey says what the run with a seed is that starts from these artifacts.
	RunKey(seed uint32, inputs []*pb.Input) (string, error)
}

// Plan is an expanded experiment.
type Plan struct {
	Arms         []string
	Trials       []*pb.TrialRecord // by index, with seeds and canonical specs
	SegmentTasks int
	ConfirmSeeds []uint32
	// Totals, confirmation runs included.
	Runs                   int
	Segments, Steps, Tasks int64
}

// Experiments is the Model of pkg/experiment.
type Experiments struct{}

func (Experiments) Plan(spec *pb.ExperimentSpec) (*Plan, error) {
	p, err := experiment.Expand(spec)
	if err != nil {
		return nil, err
	}
	out := &Plan{
		Arms: p.Arms, SegmentTasks: p.SegmentTasks, ConfirmSeeds: p.ConfirmSeeds,
		Runs: p.Runs(), Segments: p.Segments(), Steps: p.Steps(), Tasks: p.Tasks(),
	}
	for i, t := range p.Trials {
		out.Trials = append(out.Trials, &pb.TrialRecord{
			Index:         int32(i),
			Name:          t.Name,
			Arm:           t.Arm,
			Params:        utf8Map(t.Params),
			CanonicalSpec: t.SpecJSON(),
			Tasks:         int32(t.Spec.Tasks()),
			StepsPerTask:  t.Spec.StepsPerTask(),
			Seeds:         seeds.Pack(t.Seeds),
			Datasets:      t.Spec.Datasets(),
			Pack:          int32(t.Spec.PackSize()),
			Needs:         needs(t.Needs),
			Publishes:     t.Publishes,
			Asides:        t.DeferredSchedules(),
		})
	}
	for _, a := range p.Analyses {
		out.Trials = append(out.Trials, &pb.TrialRecord{
			Index:         int32(len(out.Trials)),
			Name:          a.Name,
			Arm:           a.Name,
			CanonicalSpec: a.SpecJSON(),
			Tasks:         1,
			StepsPerTask:  1,
			Seeds:         seeds.Pack(a.Seeds),
			Datasets:      a.Datasets,
			Needs:         needs(a.Needs),
			Publishes:     a.Publishes,
			Analysis:      true,
			Once:          a.Once,
		})
	}
	return out, nil
}

func needs(list []experiment.TrialNeed) (out []*pb.TrialNeed) {
	for _, n := range list {
		out = append(out, &pb.TrialNeed{
			Name: n.Name, Trial: n.Trial, Artifact: n.Artifact, Seed: n.Seed, AllSeeds: n.AllSeeds,
		})
	}
	return out
}

// Record implements [Model].
func (Experiments) Record(canonicalSpec []byte) (Record, error) {
	r, err := experiment.ReadRecord(canonicalSpec)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (Experiments) Select(spec *pb.ExperimentSpec, runs []report.RunTable) (map[string]string, error) {
	return report.SelectTrials(spec, runs)
}

// utf8Map makes strings fit for protobuf, which refuses others.
func utf8Map(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = strings.ToValidUTF8(v, "\uFFFD")
	}
	return out
}
