package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
)

// Registration is a worker's presence in the cluster. It lasts as long as its
// lease, which is renewed in the background.
type Registration struct {
	c       *Client
	key     string
	lease   clientv3.LeaseID
	created int64
	keeper  *keeper
	once    sync.Once
}

// Register announces a worker under a lease of ttl (at least one second; etcd
// may make it longer). Where another process holds the id it waits for that to
// go, up to twice ttl; then it is ErrConflict.
func (c *Client) Register(ctx context.Context, w *pb.Worker, ttl time.Duration) (*Registration, error) {
	if err := checkName("worker id", w.GetId()); err != nil {
		return nil, err
	}
	val, err := marshal(w)
	if err != nil {
		return nil, err
	}
	seconds := int64((ttl + time.Second - 1) / time.Second)
	if seconds < 1 {
		return nil, fmt.Errorf("register worker %s: lease of %s is too short", w.Id, ttl)
	}
	key := pfxWorker + w.Id
	var taken time.Time // when the id was seen to be; etcd may be away before
	for {
		var reg *Registration
		err := c.retry(ctx, "register worker", func(ctx context.Context) error {
			sent := time.Now()
			l, err := c.lease.Grant(ctx, seconds)
			if err != nil {
				return err
			}
			r, err := c.kv.Txn(ctx).If(absent(key)).Then(clientv3.OpPut(key, val, clientv3.WithLease(l.ID))).Commit()
			if err != nil || !r.Succeeded {
				// Without an answer the key may be there: it must not stay and
				// keep us out until the lease ends.
				if _, rerr := c.lease.Revoke(ctx, l.ID); rerr != nil {
					c.log.Debug("revoke lease", "error", rerr)
				}
			}
			if err != nil {
				return err
			}
			if !r.Succeeded {
				return fmt.Errorf("worker id %s is in use by another process: %w", w.Id, ErrConflict)
			}
			reg = &Registration{c: c, key: key, lease: l.ID, created: r.Header.Revision}
			granted := time.Duration(l.TTL) * time.Second
			reg.keeper = newKeeper(granted, sent, func(ctx context.Context) error {
				_, err := c.lease.KeepAliveOnce(ctx, l.ID)
				if errors.Is(err, rpctypes.ErrLeaseNotFound) {
					return errLeaseGone
				}
				return err
			})
			return nil
		})
		if err == nil {
			return reg, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
		if taken.IsZero() {
			taken = time.Now()
		}
		if time.Since(taken) > 2*ttl {
			return nil, err
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return nil, err
		}
	}
}

// BuryWorkers ends all registrations, and the assignments that go with them,
// for who knows that none of these workers is alive: etcd has just been started
// and no other process can reach it. Their leases would hold their work back.
func (c *Client) BuryWorkers(ctx context.Context) error {
	_, events, err := c.list(ctx, pfxWorker)
	if err != nil {
		return fmt.Errorf("list workers of before: %w", err)
	}
	for _, e := range events {
		err := c.retry(ctx, "end registration", func(ctx context.Context) error {
			_, err := c.lease.Revoke(ctx, clientv3.LeaseID(e.lease))
			return err
		})
		if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return fmt.Errorf("end the registration of worker %s: %w", strings.TrimPrefix(e.key, pfxWorker), err)
		}
	}
	return nil
}

// Lost is closed when the lease is gone or must be taken for gone: two thirds
// of its time have passed since the last renewal that succeeded was sent. The
// worker's assignments go to others then.
func (r *Registration) Lost() <-chan struct{} { return r.keeper.lost }

// Update changes the registration, for example to draining. ErrConflict when it
// is gone.
func (r *Registration) Update(ctx context.Context, w *pb.Worker) error {
	if pfxWorker+w.GetId() != r.key {
		return fmt.Errorf("update registration: worker id %q is another", w.GetId())
	}
	val, err := marshal(w)
	if err != nil {
		return err
	}
	return r.c.retry(ctx, "update registration", func(ctx context.Context) error {
		_, err := r.c.write(ctx, "update registration", []clientv3.Cmp{createdAt(r.key, r.created)}, clientv3.OpPut(r.key, val, clientv3.WithLease(r.lease)))
		return err
	})
}

// Close takes the worker out of the cluster: its lease is revoked and what is
// assigned to it goes to others at once. Where etcd does not answer before ctx
// ends, the lease runs out by itself.
func (r *Registration) Close(ctx context.Context) error {
	var err error
	r.once.Do(func() {
		r.keeper.close()
		err = r.c.retry(ctx, "revoke lease", func(ctx context.Context) error {
			_, err := r.c.lease.Revoke(ctx, r.lease)
			if errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return nil
			}
			return err
		})
	})
	return err
}

var errLeaseGone = errors.New("lease is gone")

// keeper renews a lease and decides when it must be taken for lost. The etcd
// client's own keep-alive counts from when an answer arrives, which is too late
// by the time the answer took.
type keeper struct {
	renew  func(context.Context) error
	ttl    time.Duration
	lost   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func newKeeper(ttl time.Duration, sent time.Time, renew func(context.Context) error) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{renew: renew, ttl: ttl, lost: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	go k.run(ctx, sent)
	return k
}

func (k *keeper) run(ctx context.Context, sent time.Time) {
	defer close(k.done)
	wait := k.ttl / 3
	for {
		deadline := sent.Add(k.ttl * 2 / 3)
		if sleep(ctx, min(wait, max(0, time.Until(deadline)))) != nil {
			return
		}
		now := time.Now()
		if !now.Before(deadline) {
			close(k.lost)
			return
		}
		// A try that hangs must leave time for another.
		tctx, cancel := context.WithDeadline(ctx, minTime(deadline, now.Add(k.ttl/6)))
		err := k.renew(tctx)
		cancel()
		switch {
		case err == nil:
			sent, wait = now, k.ttl/3
		case ctx.Err() != nil:
			return
		case errors.Is(err, errLeaseGone):
			close(k.lost)
			return
		default:
			wait = k.ttl / 24
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (k *keeper) close() {
	k.cancel()
	<-k.done
}

// AssignmentEvent gives a worker an assignment, or withdraws one
// any more.
type AssignmentEvent struct {
	Assignment *pb.Assignment
	// Withdrawn: the assignment is gone, because its segments are committed, or
	// because another worker is to do them, or none. Only Assignment.Id and
	// Worker are set then.
	Withdrawn bool
	// More: other events became known together with this one, and follow. What
	// was assigned in one transaction is.
	More bool
}

// Assignments sends the worker's assignments, existing ones first, until
// ctx ends; then the channel is closed. It outlasts etcd's absence: nothing is
// left out, and no change is reported twice.
func (c *Client) Assignments(ctx context.Context, workerID string) (<-chan AssignmentEvent, error) {
	if err := checkName("worker id", workerID); err != nil {
		return nil, err
	}
	prefix := pfxAssigned + workerID + "/"
	out := make(chan AssignmentEvent)
	go func() {
		defer close(out)
		c.watchPrefix(ctx, prefix, func(_ int64, events []event) {
			var ready []AssignmentEvent
			for _, e := range events {
				ev := AssignmentEvent{Assignment: &pb.Assignment{Id: e.key[len(prefix):], Worker: workerID}, Withdrawn: e.deleted}
				if !e.deleted {
					a := &pb.Assignment{}
					if err := proto.Unmarshal(e.value, a); err != nil {
						c.log.Error("unreadable assignment", "key", e.key, "error", err)
						continue
					}
					ev.Assignment = a
				}
				ready = append(ready, ev)
			}
			for i, ev := range ready {
				ev.More = i < len(ready)-1
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			}
		})
	}()
	return out, nil
}
