package cluster

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	pb "neoteny/proto/neoteny/v1"
)

// What has ended is taken up again here. Attempts go on counting where they were, so
// that whoever still works for the time before is fenced as ever.

// Reopen replaces the record of an ended experiment, which is at revision mod, by one
// that has not, together with what was wanted of it before. ErrConflict where either has
// changed, or it is to be deleted.
func (c *Client) Reopen(ctx context.Context, rec *pb.ExperimentRecord, mod int64) (int64, error) {
	stored, err := c.spillSpec(ctx, rec)
	if err != nil {
		return 0, err
	}
	val, err := storedExperiment(stored)
	if err != nil {
		return 0, err
	}
	key, control := pfxExp+rec.Id, pfxControl+rec.Id
	was := &pb.ControlRecord{}
	at, err := c.get(ctx, control, was)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	if was.Desired == pb.Desired_DESIRED_DELETE {
		return 0, fmt.Errorf("take up %s again: it is being deleted: %w", rec.Id, ErrConflict)
	}
	return c.write(ctx, "take up "+rec.Id+" again", []clientv3.Cmp{modIs(key, mod), modIs(control, at.Mod)},
		clientv3.OpPut(key, val), clientv3.OpDelete(control))
}

// Restart replaces the record of a run that has ended, at revision mod, by that of one
// which has not, with a segment: its first, or one that is done and that it goes on from.
func (c *Client) Restart(ctx context.Context, run *pb.Run, mod int64, seg *pb.Segment) (int64, error) {
	if err := checkRef(seg.GetRef()); err != nil {
		return 0, err
	}
	if seg.Result != nil {
		var err error
		if seg.Result, err = c.compact(ctx, seg.Ref, seg.Result); err != nil {
			return 0, err
		}
	}
	runVal, err := marshal(run)
	if err != nil {
		return 0, err
	}
	segVal, err := marshal(seg)
	if err != nil {
		return 0, err
	}
	key := pfxRun + run.Id
	return c.write(ctx, "take up run "+run.Id+" again", []clientv3.Cmp{modIs(key, mod), absent(segmentKey(seg.Ref))},
		clientv3.OpPut(key, runVal), clientv3.OpPut(segmentKey(seg.Ref), segVal))
}

// ForgetRun deletes the record of a run that has ended, at revision mod.
func (c *Client) ForgetRun(ctx context.Context, run string, mod int64) (int64, error) {
	key := pfxRun + run
	return c.write(ctx, "forget run "+run, []clientv3.Cmp{modIs(key, mod)}, clientv3.OpDelete(key))
}
