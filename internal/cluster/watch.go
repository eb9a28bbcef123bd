package cluster

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// event is a change of one key.
type event struct {
	key     string
	value   []byte
	deleted bool
	// Revisions of the last change and of the creation, and the lease; of a
	// deletion only mod, the revision at which it was seen at the latest.
	mod, create, lease int64
}

// watchPrefix calls fn with everything under prefix, then with every change,
// until ctx ends: each call brings all changes of the revisions up to rev that
// fn has not had before, so that it always knows the state at rev.
// It resumes when the connection comes back. Where etcd no longer has the changes
// any more (they were compacted), and every Options.Resync, it lists everything
// again and reports the difference, deletions included.
func (c *Client) watchPrefix(ctx context.Context, prefix string, fn func(rev int64, events []event)) {
	known := map[string]int64{} // key to revision of its last change
	for try := 0; ctx.Err() == nil; {
		rev, events, err := c.list(ctx, prefix)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Debug("list for watch", "prefix", prefix, "error", err)
			}
			if sleep(ctx, jitter(try)) != nil {
				return
			}
			try++
			continue
		}
		fn(rev, diff(known, events, rev))
		if c.follow(ctx, prefix, rev, known, fn) {
			try = 0
		} else {
			if sleep(ctx, jitter(try)) != nil {
				return
			}
			try++
		}
	}
}

// list reads everything under prefix, in pages pinned at one revision.
func (c *Client) list(ctx context.Context, prefix string) (rev int64, events []event, err error) {
	opts := []clientv3.OpOption{clientv3.WithLimit(int64(c.opts.PageSize)), clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix))}
	from := prefix
	if prefix == "" {
		opts[1] = clientv3.WithFromKey()
		from = "\x00"
	}
	for {
		page := opts
		if rev > 0 {
			page = append(opts[:len(opts):len(opts)], clientv3.WithRev(rev))
		}
		r, err := once(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return c.kv.Get(ctx, from, page...) })
		if err != nil {
			return 0, nil, err // compacted under our hands: the caller starts anew
		}
		if rev == 0 {
			rev = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			events = append(events, putEvent(kv))
		}
		if !r.More || len(r.Kvs) == 0 {
			return rev, events, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// follow watches from the revision after rev until the watch breaks. It reports
// whether it got anything, so that a watch which breaks at once is not made
// again at once.
func (c *Client) follow(ctx context.Context, prefix string, rev int64, known map[string]int64, fn func(int64, []event)) (progress bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resync := time.NewTimer(c.opts.Resync)
	defer resync.Stop()
	// WithFragment keeps a response within gRPC's limits; the client puts the
	// fragments together again, so a revision is never split.
	wch := c.watch.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(rev+1),
		clientv3.WithProgressNotify(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	for {
		select {
		case <-resync.C:
			return true
		case r, ok := <-wch:
			if !ok {
				return progress
			}
			if err := r.Err(); err != nil {
				if ctx.Err() == nil {
					c.log.Debug("watch ended, listing again", "prefix", prefix, "compacted", errors.Is(err, rpctypes.ErrCompacted), "error", err)
				}
				return progress || errors.Is(err, rpctypes.ErrCompacted)
			}
			if r.Created {
				continue // its revision is the server's, not that of what fn was given
			}
			progress = true
			events := make([]event, 0, len(r.Events))
			for _, e := range r.Events {
				if e.Type == mvccpb.DELETE {
					delete(known, string(e.Kv.Key))
					events = append(events, event{key: string(e.Kv.Key), deleted: true, mod: e.Kv.ModRevision})
					continue
				}
				known[string(e.Kv.Key)] = e.Kv.ModRevision
				events = append(events, putEvent(e.Kv))
			}
			// While the server catches up with a resumed watch, its header runs
			// ahead of the events; only a progress report (no events) vouches for
			// the header's revision.
			if n := len(r.Events); n > 0 {
				rev = max(rev, r.Events[n-1].Kv.ModRevision)
			} else {
				rev = max(rev, r.Header.Revision)
			}
			fn(rev, events)
		}
	}
}

func putEvent(kv *mvccpb.KeyValue) event {
	return event{key: string(kv.Key), value: kv.Value, mod: kv.ModRevision, create: kv.CreateRevision, lease: kv.Lease}
}

// diff returns what changed between known and a list at rev, and makes known
// the list.
func diff(known map[string]int64, listed []event, rev int64) []event {
	var events []event
	at := make(map[string]bool, len(listed))
	for _, e := range listed {
		at[e.key] = true
		if known[e.key] != e.mod {
			known[e.key] = e.mod
			events = append(events, e)
		}
	}
	for k := range known {
		if !at[k] {
			delete(known, k)
			events = append(events, event{key: k, deleted: true, mod: rev})
		}
	}
	return events
}
