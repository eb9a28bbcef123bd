package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
)

// CreateSubmission records a submitted experiment under a new id, the spec's
// name and six random characters. The same request id and spec again return the
// experiment that is there (existed); with another spec it is ErrConflict. It
// tries on while etcd is away.
func (c *Client) CreateSubmission(ctx context.Context, requestID string, spec *pb.ExperimentSpec, source *pb.Source, now time.Time, change ...func(*pb.ExperimentRecord)) (rec *pb.ExperimentRecord, existed bool, err error) {
	if requestID == "" || len(requestID) > 128 {
		return nil, false, fmt.Errorf("request id of %d characters: want 1 to 128", len(requestID))
	}
	if err := checkName("experiment name", spec.GetName()); err != nil {
		return nil, false, err
	}
	rec = &pb.ExperimentRecord{RequestId: requestID, Spec: spec, Source: source, CreatedAt: timestamppb.New(now)}
	rec.Id = spec.Name + "-" + suffix()
	for _, c := range change {
		c(rec)
	}
	stored, err := c.spillSpec(ctx, rec)
	if err != nil {
		return nil, false, err
	}
	val, err := marshal(stored)
	if err != nil {
		return nil, false, err
	}
	var have string // id that the request has led to
	err = c.retry(ctx, "submit", func(ctx context.Context) error {
		r, err := c.kv.Txn(ctx).
			If(absent(pfxRequest+requestID), absent(pfxExp+rec.Id)).
			Then(clientv3.OpPut(pfxRequest+requestID, rec.Id), clientv3.OpPut(pfxExp+rec.Id, val)).
			Else(clientv3.OpGet(pfxRequest + requestID)).Commit()
		if err != nil {
			return err
		}
		if r.Succeeded {
			have = rec.Id
			return nil
		}
		kvs := r.Responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 {
			return fmt.Errorf("experiment id %s is taken: %w", rec.Id, ErrConflict)
		}
		have = string(kvs[0].Value)
		return nil
	})
	if err != nil || have == rec.Id {
		return rec, false, err
	}
	old, err := c.Experiment(ctx, have)
	if err != nil {
		return nil, false, fmt.Errorf("experiment %s of request %s: %w", have, requestID, err)
	}
	if !proto.Equal(old.Spec, spec) {
		return nil, false, fmt.Errorf("request id %s was used for %s with another spec: %w", requestID, have, ErrConflict)
	}
	return old, true, nil
}

// spillSpec returns a record whose spec is in the overflow store where it is too large.
func (c *Client) spillSpec(ctx context.Context, rec *pb.ExperimentRecord) (*pb.ExperimentRecord, error) {
	if rec.Spec == nil || proto.Size(rec.Spec) <= inlineLimit {
		return rec, nil
	}
	b, err := proto.Marshal(rec.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	ref, err := c.spill(ctx, rec.Id, b)
	if err != nil {
		return nil, fmt.Errorf("store spec: %w", err)
	}
	stored := proto.CloneOf(rec)
	stored.Spec, stored.SpecOverflow = nil, ref
	return stored, nil
}

// suffix makes ids unique: 36^6 of them for each name.
func suffix() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 6)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err) // crypto/rand does not fail on systems that Go supports
		}
		b[i] = letters[n.Int64()]
	}
	return string(b)
}

// Experiment reads an experiment's record with its spec; ErrNotFound when there
// is none.
func (c *Client) Experiment(ctx context.Context, id string) (*pb.ExperimentRecord, error) {
	rec := &pb.ExperimentRecord{}
	err := c.retry(ctx, "read experiment", func(ctx context.Context) error {
		proto.Reset(rec)
		_, err := c.get(ctx, pfxExp+id, rec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rec, c.FillSpec(ctx, rec)
}

// FillSpec fetches the spec of a record where it overflowed.
func (c *Client) FillSpec(ctx context.Context, rec *pb.ExperimentRecord) error {
	if rec.Spec != nil || rec.SpecOverflow == nil {
		return nil
	}
	b, err := c.unspill(ctx, rec.SpecOverflow)
	if err != nil {
		return fmt.Errorf("spec of %s: %w", rec.Id, err)
	}
	spec := &pb.ExperimentSpec{}
	if err := proto.Unmarshal(b, spec); err != nil {
		return fmt.Errorf("spec of %s: %w", rec.Id, err)
	}
	rec.Spec = spec
	return nil
}

// UpdateExperiment replaces a record that is at revision mod.
func (c *Client) UpdateExperiment(ctx context.Context, rec *pb.ExperimentRecord, mod int64) (int64, error) {
	val, err := storedExperiment(rec)
	if err != nil {
		return 0, err
	}
	key := pfxExp + rec.Id
	return c.write(ctx, "update experiment "+rec.Id, []clientv3.Cmp{modIs(key, mod)}, clientv3.OpPut(key, val))
}

// storedExperiment is a record as it is kept: without a spec that overflowed.
func storedExperiment(rec *pb.ExperimentRecord) (string, error) {
	if rec.SpecOverflow != nil {
		rec = proto.CloneOf(rec)
		rec.Spec = nil
	}
	return marshal(rec)
}

// AddTrials writes the trials of an experiment whose record is at revision mod,
// in transactions of at most 60. Writing the same again does no harm; a part of
// them may be written when it fails.
func (c *Client) AddTrials(ctx context.Context, experiment string, mod int64, trials []*pb.TrialRecord) (rev int64, err error) {
	type record struct{ key, val string }
	records := make([]record, len(trials))
	for i, t := range trials {
		if err := checkName("trial", t.Name); err != nil {
			return 0, err
		}
		if len(t.CanonicalSpec) > inlineLimit {
			ref, err := c.spill(ctx, experiment, t.CanonicalSpec)
			if err != nil {
				return 0, fmt.Errorf("store spec of trial %s: %w", t.Name, err)
			}
			t = proto.CloneOf(t)
			t.CanonicalSpec, t.SpecOverflow = nil, ref
		}
		val, err := marshal(t)
		if err != nil {
			return 0, fmt.Errorf("trial %s: %w", t.Name, err)
		}
		records[i] = record{trialKey(experiment, t.Name), val}
	}
	for _, chunk := range chunks(records, func(r record) int { return len(r.key) + len(r.val) }) {
		var ops []clientv3.Op
		for _, r := range chunk {
			ops = append(ops, clientv3.OpPut(r.key, r.val))
		}
		if rev, err = c.write(ctx, "add trials to "+experiment, []clientv3.Cmp{modIs(pfxExp+experiment, mod)}, ops...); err != nil {
			return rev, err
		}
	}
	return rev, nil
}

// Trial reads a trial's record with its canonical spec.
func (c *Client) Trial(ctx context.Context, experiment, trial string) (*pb.TrialRecord, error) {
	rec := &pb.TrialRecord{}
	err := c.retry(ctx, "read trial", func(ctx context.Context) error {
		proto.Reset(rec)
		_, err := c.get(ctx, trialKey(experiment, trial), rec)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("trial %s of %s: %w", trial, experiment, err)
	}
	return rec, c.fillTrial(ctx, rec)
}

func (c *Client) fillTrial(ctx context.Context, rec *pb.TrialRecord) (err error) {
	if rec.SpecOverflow == nil {
		return nil
	}
	if rec.CanonicalSpec, err = c.unspill(ctx, rec.SpecOverflow); err != nil {
		return fmt.Errorf("spec of trial %s: %w", rec.Name, err)
	}
	return nil
}

// RunSpec returns what a worker needs for a run: the trial's resolved spec as
// canonical JSON, and the run's record. ErrNotFound when the run is gone. It
// tries on while etcd is away.
func (c *Client) RunSpec(ctx context.Context, runID string) (canonicalJSON []byte, run *pb.Run, err error) {
	experiment, trial, _, err := SplitRun(runID)
	if err != nil {
		return nil, nil, err
	}
	run = &pb.Run{}
	err = c.retry(ctx, "read run", func(ctx context.Context) error {
		proto.Reset(run)
		_, err := c.get(ctx, pfxRun+runID, run)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w", runID, err)
	}
	rec, err := c.Trial(ctx, experiment, trial)
	if err != nil {
		return nil, nil, err
	}
	return rec.CanonicalSpec, run, nil
}

// SetDesired records what the user wants of an experiment. Wanting it deleted
// is for good. It tries on while etcd is away. ErrNotFound when there is no such
// experiment.
func (c *Client) SetDesired(ctx context.Context, experiment string, want pb.Desired, now time.Time) (rev int64, err error) {
	val, err := marshal(&pb.ControlRecord{Desired: want, RequestedAt: timestamppb.New(now)})
	if err != nil {
		return 0, err
	}
	key := pfxControl + experiment
	err = c.retry(ctx, "set desired state", func(ctx context.Context) error {
		old := &pb.ControlRecord{}
		at, err := c.get(ctx, key, old)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if old.Desired == want || old.Desired == pb.Desired_DESIRED_DELETE {
			rev = at.Mod
			return nil
		}
		rev, err = c.write(ctx, "set desired state", []clientv3.Cmp{exists(pfxExp + experiment), modIs(key, at.Mod)}, clientv3.OpPut(key, val))
		if errors.Is(err, ErrConflict) {
			if _, gone := c.get(ctx, pfxExp+experiment, &pb.ExperimentRecord{}); gone != nil {
				return gone
			}
			return errAgain
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("experiment %s: %w", experiment, err)
	}
	return rev, nil
}

// DeleteExperiment removes every record of an experiment that is at revision
// mod, and the request that made it.
func (c *Client) DeleteExperiment(ctx context.Context, rec *pb.ExperimentRecord, mod int64) (int64, error) {
	id := rec.Id
	if err := checkName("experiment", id); err != nil {
		return 0, err // an empty one would delete all
	}
	ops := []clientv3.Op{clientv3.OpDelete(pfxExp + id), clientv3.OpDelete(pfxControl + id)}
	if rec.RequestId != "" {
		ops = append(ops, clientv3.OpDelete(pfxRequest+rec.RequestId))
	}
	for _, pfx := range []string{pfxTrial, pfxRun, pfxSegment} {
		ops = append(ops, clientv3.OpDelete(pfx+id+"/", clientv3.WithPrefix()))
	}
	return c.write(ctx, "delete experiment "+id, []clientv3.Cmp{modIs(pfxExp+id, mod)}, ops...)
}
