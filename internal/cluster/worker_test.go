package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	pb "neoteny/proto/neoteny/v1"
)

func TestKeeperRenewsAndGivesUpInTime(t *testing.T) {
	const ttl = 12 * time.Second
	isLost := func(k *keeper) bool {
		select {
		case <-k.lost:
			return true
		default:
			return false
		}
	}
	t.Run("renews every third", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			k := newKeeper(ttl, time.Now(), func(context.Context) error { n++; return nil })
			time.Sleep(40 * time.Second)
			synctest.Wait()
			require.Equal(t, 10, n)
			require.False(t, isLost(k))
			k.close()
		})
	})
	t.Run("is lost at two thirds after the last success was sent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			good := true
			begin := time.Now()
			k := newKeeper(ttl, begin, func(ctx context.Context) error {
				if good {
					good = false
					time.Sleep(time.Second) // the answer's way does not count
					return nil
				}
				<-ctx.Done() // etcd does not answer
				return ctx.Err()
			})
			<-k.lost
			require.Equal(t, ttl/3+ttl*2/3, time.Since(begin))
			k.close()
		})
	})
	t.Run("is lost at once when etcd says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			k := newKeeper(ttl, begin, func(context.Context) error { return errLeaseGone })
			<-k.lost
			require.Equal(t, ttl/3, time.Since(begin))
			k.close()
		})
	})
	t.Run("tries again soon", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			k := newKeeper(ttl, time.Now(), func(context.Context) error {
				if n++; n%3 != 0 {
					return errTest
				}
				return nil
			})
			time.Sleep(time.Minute)
			synctest.Wait()
			require.False(t, isLost(k))
			require.Greater(t, n, 30)
			k.close()
		})
	})
}

func TestARegistrationIsSeenChangedAndGone(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx := t.Context()
	reg, err := c.Register(ctx, &pb.Worker{Id: "w", Slots: 2}, time.Minute)
	require.NoError(t, err)
	created := c.holder(t, "w").Rev.Create
	require.NoError(t, reg.Update(ctx, &pb.Worker{Id: "w", Slots: 2, Draining: true}))
	w := &pb.Worker{}
	rev, err := c.get(ctx, pfxWorker+"w", w)
	require.NoError(t, err)
	require.True(t, w.Draining)
	require.Equal(t, created, rev.Create, "the same incarnation")
	require.NotZero(t, rev.Lease)
	require.Error(t, reg.Update(ctx, &pb.Worker{Id: "other"}))

	// The id is taken.
	_, err = c.Register(ctx, &pb.Worker{Id: "w"}, time.Second)
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, "in use by another process")
	// Who waits gets it when it is free.
	errs := make(chan error, 1)
	go func() {
		r, err := c.Register(ctx, &pb.Worker{Id: "w"}, time.Minute)
		if err == nil {
			defer r.Close(context.Background())
		}
		errs <- err
	}()
	require.NoError(t, reg.Close(ctx))
	require.NoError(t, reg.Close(ctx), "twice is no error")
	require.NoError(t, <-errs)
	require.ErrorIs(t, reg.Update(ctx, &pb.Worker{Id: "w"}), ErrConflict)
}

// countedKV reports the number of each transaction before it is made.
type countedKV struct {
	clientv3.KV
	n      int
	before func(n int)
}

func (k *countedKV) Txn(ctx context.Context) clientv3.Txn {
	k.n++
	k.before(k.n)
	return k.KV.Txn(ctx)
}

func TestRegisterWaitsForTheIDAlsoAfterAnOutage(t *testing.T) {
	// A worker that was killed comes back while etcd is away: its old lease is
	// still there when etcd answers.
	c := dial(t, t.Cleanup, Options{})
	old, err := c.Register(t.Context(), &pb.Worker{Id: "w"}, time.Minute)
	require.NoError(t, err)
	const ttl = 50 * time.Millisecond
	c.kv = &countedKV{KV: &lossyKV{KV: c.kv, losses: []loss{requestLost}}, before: func(n int) {
		switch n {
		case 1: // the outage lasts longer than an id is waited for
			<-time.After(2 * ttl)
		case 3: // the second was refused
			require.NoError(t, old.Close(t.Context()))
		}
	}}
	reg, err := c.Register(t.Context(), &pb.Worker{Id: "w"}, ttl)
	require.NoError(t, err)
	require.NoError(t, reg.Close(t.Context()))
}

func TestBuriedWorkersLeaveNothing(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	require.NoError(t, c.BuryWorkers(t.Context()), "none is there")
	var all []*Registration
	for _, id := range []string{"v", "w"} {
		reg, err := c.Register(t.Context(), &pb.Worker{Id: id}, time.Hour)
		require.NoError(t, err)
		all = append(all, reg)
	}
	require.NoError(t, c.BuryWorkers(t.Context()))
	_, left, err := c.list(t.Context(), pfxWorker)
	require.NoError(t, err)
	require.Empty(t, left)
	for _, reg := range all {
		require.NoError(t, reg.Close(t.Context()))
	}
}

func TestARevokedLeaseIsLost(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	reg, err := c.Register(t.Context(), &pb.Worker{Id: "w"}, time.Second)
	require.NoError(t, err)
	_, err = c.lease.Revoke(t.Context(), reg.lease)
	require.NoError(t, err)
	<-reg.Lost()
	require.NoError(t, reg.Close(t.Context()))
}

func TestALeaseIsLostWhenEtcdIsAway(t *testing.T) {
	gt := newGate(t)
	c := dial(t, t.Cleanup, Options{}, gt.endpoint())
	reg, err := c.Register(t.Context(), &pb.Worker{Id: "w"}, time.Second)
	require.NoError(t, err)
	gt.close()
	<-reg.Lost()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, reg.Close(ctx))
}

func TestAssignmentsAreToldOnceAndWithdrawn(t *testing.T) {
	gt := newGate(t)
	prefix := freshPrefix()
	direct := dial(t, t.Cleanup, Options{Prefix: prefix})
	c := dial(t, t.Cleanup, Options{Prefix: prefix}, gt.endpoint())
	_, g := seed(t, direct)
	ctx := t.Context()
	reg, err := direct.Register(ctx, &pb.Worker{Id: "w"}, time.Minute)
	require.NoError(t, err)
	defer reg.Close(context.Background())
	assign := func() {
		cur, rev := direct.segment(t, g.Ref)
		_, err := direct.Assign(ctx, cur, rev.Mod, direct.holder(t, "w"), time.Now())
		require.NoError(t, err)
	}
	assign() // there before anybody listens
	wctx, cancel := context.WithCancel(ctx)
	events, err := c.Assignments(wctx, "w")
	require.NoError(t, err)
	ev := <-events
	require.False(t, ev.Withdrawn)
	require.Equal(t, AssignmentID(g.Ref, 1), ev.Assignment.Id)
	require.EqualValues(t, 1, ev.Assignment.Segments[0].Attempt)
	require.EqualValues(t, 100, ev.Assignment.Segments[0].Ref.EndStep)

	// Taken back and given again while we cannot hear.
	gt.close()
	require.NoError(t, direct.Release(ctx, g.Ref, 1))
	assign()
	rev, err := direct.Revision(ctx)
	require.NoError(t, err)
	_, err = direct.etcd.Compact(ctx, rev)
	require.NoError(t, err)
	gt.open()
	got := map[string]bool{}
	for range 2 {
		ev := <-events
		got[ev.Assignment.Id] = ev.Withdrawn
	}
	require.Equal(t, map[string]bool{AssignmentID(g.Ref, 1): true, AssignmentID(g.Ref, 2): false}, got)
	require.NoError(t, direct.Commit(ctx, g.Ref, 2, done(100)))
	ev = <-events
	require.True(t, ev.Withdrawn)
	cancel()
	_, ok := <-events
	require.False(t, ok, "closed with its context")
}

// A pack is given as a whole or not at all. Its assignments arrive together,
// and each has an end of its own.
func TestAssignPack(t *testing.T) {
	c := dial(t, t.Cleanup, Options{Prefix: freshPrefix()})
	rec, g := seed(t, c)
	ctx := t.Context()
	exp, _, _, err := SplitRun(g.Ref.Run)
	require.NoError(t, err)
	var runs []NewRun
	for i := range MaxPack - 1 {
		id := fmt.Sprintf("%s/packed/%d", exp, i)
		runs = append(runs, NewRun{Run: &pb.Run{Id: id}, Segment: segmentOf(id, 0, 100)})
	}
	_, err = c.AddRuns(ctx, exp, modOf(t, c, pfxExp+rec.Id), runs)
	require.NoError(t, err)
	reg, err := c.Register(ctx, &pb.Worker{Id: "w"}, time.Minute)
	require.NoError(t, err)
	defer reg.Close(context.Background())

	pack := func() (out []SegmentAt) {
		cur, rev := c.segment(t, g.Ref)
		out = append(out, SegmentAt{cur, rev.Mod})
		for _, r := range runs {
			cur, rev := c.segment(t, r.Segment.Ref)
			out = append(out, SegmentAt{cur, rev.Mod})
		}
		return out
	}
	stale := pack()
	stale[7].Mod--
	_, err = c.AssignPack(ctx, stale, c.holder(t, "w"), time.Now())
	require.ErrorIs(t, err, ErrConflict)
	cur, _ := c.segment(t, g.Ref)
	require.Equal(t, pendingState, cur.State)

	_, err = c.AssignPack(ctx, append(pack(), pack()[0]), c.holder(t, "w"), time.Now())
	require.ErrorContains(t, err, "want 1 to 60")
	_, err = c.AssignPack(ctx, nil, c.holder(t, "w"), time.Now())
	require.Error(t, err)

	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := c.Assignments(wctx, "w")
	require.NoError(t, err)
	_, err = c.AssignPack(ctx, pack(), c.holder(t, "w"), time.Now())
	require.NoError(t, err)
	for i := range MaxPack {
		ev := <-events
		require.Equal(t, AssignmentID(g.Ref, 1), ev.Assignment.Pack)
		require.Len(t, ev.Assignment.Segments, 1)
		require.Equal(t, i < MaxPack-1, ev.More)
	}
	require.NoError(t, c.Commit(ctx, runs[3].Segment.Ref, 1, done(100)))
	ev := <-events
	require.True(t, ev.Withdrawn)
	require.Equal(t, AssignmentID(runs[3].Segment.Ref, 1), ev.Assignment.Id)
	cur, _ = c.segment(t, g.Ref)
	require.Equal(t, assigned, cur.State)
}
