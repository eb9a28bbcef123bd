package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
)

const (
	// inlineLimit is the largest record that is kept in etcd as it is.
	inlineLimit = 256 << 10
	// overflowLimit bounds what is read back from the overflow store.
	overflowLimit = 64 << 20
	// chunkOps and chunkBytes bound a transaction well below etcd's 128
	// operations and 1.5 MiB.
	chunkRecords = 60
	chunkBytes   = 1 << 20
)

// Rev is the place of a record in etcd's history.
type Rev struct {
	Mod    int64 // revision of its last change
	Create int64 // revision of its creation: which incarnation it is
	Lease  int64 // lease it goes with; 0 for none
}

// Kind says what a changed record is.
type Kind int

// The kinds of records.
const (
	KindExperiment Kind = iota + 1 // Change.Experiment, *pb.ExperimentRecord
	KindControl                    // Change.Experiment, *pb.ControlRecord
	KindTrial                      // Change.Experiment, Change.Trial, *pb.TrialRecord
	KindRun                        // Change.Run, *pb.Run
	KindSegment                    // Change.Ref (without its end when deleted), *pb.Segment
	KindWorker                     // Change.Worker, *pb.Worker
	KindAssignment                 // Change.Worker, Change.Assignment, *pb.Assignment
)

// Change is a record as it became.
type Change struct {
	Kind       Kind
	Deleted    bool
	Rev        Rev
	Msg        proto.Message // nil when deleted
	Experiment string
	Trial      string
	Run        string
	Worker     string
	Assignment string
	Ref        *pb.SegmentRef
}

// Watch calls fn with every record and then with every change of one, until ctx ends. What
// fn has been given is always the state at revision rev: transactions are never
// seen by halves, and after a gap the difference follows. A record that cannot
// be read is logged and left out.
func (c *Client) Watch(ctx context.Context, fn func(rev int64, changes []Change)) {
	c.watchPrefix(ctx, "", func(rev int64, events []event) {
		changes := make([]Change, 0, len(events))
		for _, e := range events {
			ch, err := decode(e)
			if err != nil {
				c.log.Error("unreadable record", "key", e.key, "error", err)
				continue
			}
			if ch.Kind != 0 {
				changes = append(changes, ch)
			}
		}
		fn(rev, changes)
	})
}

func decode(e event) (ch Change, err error) {
	ch.Deleted = e.deleted
	ch.Rev = Rev{Mod: e.mod, Create: e.create, Lease: e.lease}
	first, rest, _ := strings.Cut(e.key, "/")
	switch first + "/" {
	case pfxExp:
		ch.Kind, ch.Experiment, ch.Msg = KindExperiment, rest, &pb.ExperimentRecord{}
	case pfxControl:
		ch.Kind, ch.Experiment, ch.Msg = KindControl, rest, &pb.ControlRecord{}
	case pfxTrial:
		var ok bool
		ch.Kind, ch.Msg = KindTrial, &pb.TrialRecord{}
		if ch.Experiment, ch.Trial, ok = strings.Cut(rest, "/"); !ok {
			return ch, errors.New("no trial in the key")
		}
	case pfxRun:
		ch.Kind, ch.Run, ch.Msg = KindRun, rest, &pb.Run{}
		if ch.Experiment, ch.Trial, _, err = SplitRun(rest); err != nil {
			return ch, err
		}
	case pfxSegment:
		ch.Kind, ch.Msg = KindSegment, &pb.Segment{}
		if ch.Ref, err = parseSegmentKey(rest); err != nil {
			return ch, err
		}
		ch.Run = ch.Ref.Run
		if ch.Experiment, ch.Trial, _, err = SplitRun(ch.Run); err != nil {
			return ch, err
		}
	case pfxWorker:
		ch.Kind, ch.Worker, ch.Msg = KindWorker, rest, &pb.Worker{}
	case pfxAssigned:
		var ok bool
		ch.Kind, ch.Msg = KindAssignment, &pb.Assignment{}
		if ch.Worker, ch.Assignment, ok = strings.Cut(rest, "/"); !ok {
			return ch, errors.New("no assignment in the key")
		}
	default:
		return Change{}, nil
	}
	if e.deleted {
		ch.Msg = nil
		return ch, nil
	}
	if err := proto.Unmarshal(e.value, ch.Msg); err != nil {
		return ch, err
	}
	if seg, ok := ch.Msg.(*pb.Segment); ok {
		ch.Ref = seg.GetRef()
		if err := checkRef(ch.Ref); err != nil {
			return ch, err
		}
	}
	return ch, nil
}

// marshal encodes a record that must fit into etcd.
func marshal(m proto.Message) (string, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	// Overflow has moved the large parts out; what is left has little room to
	// exceed this.
	if len(b) > chunkBytes {
		return "", fmt.Errorf("%s of %d bytes does not fit into etcd", m.ProtoReflect().Descriptor().Name(), len(b))
	}
	return string(b), nil
}

// spill puts data into the overflow store, under its digest.
func (c *Client) spill(ctx context.Context, experiment string, data []byte) (*pb.BlobRef, error) {
	if c.over == nil {
		return nil, fmt.Errorf("record of %d bytes is over %d and there is no overflow store", len(data), inlineLimit)
	}
	sum := sha256.Sum256(data)
	return c.over.Put(ctx, BlobPrefix(experiment)+"/overflow/"+hex.EncodeToString(sum[:]), data)
}

func (c *Client) unspill(ctx context.Context, ref *pb.BlobRef) ([]byte, error) {
	if c.over == nil {
		return nil, errors.New("record is in the overflow store and there is none")
	}
	return c.over.Get(ctx, ref, overflowLimit)
}

// get reads one record; ErrNotFound when there is none.
func (c *Client) get(ctx context.Context, key string, m proto.Message) (Rev, error) {
	r, err := c.kv.Get(ctx, key)
	if err != nil {
		return Rev{}, err
	}
	if len(r.Kvs) == 0 {
		return Rev{}, ErrNotFound
	}
	kv := r.Kvs[0]
	if err := proto.Unmarshal(kv.Value, m); err != nil {
		return Rev{}, fmt.Errorf("record %s: %w", key, err)
	}
	return Rev{Mod: kv.ModRevision, Create: kv.CreateRevision, Lease: kv.Lease}, nil
}

// write commits one transaction, once. It returns the revision it was made at;
// ErrConflict when a compare did not hold. After another error its outcome is
// unknown.
func (c *Client) write(ctx context.Context, what string, cmps []clientv3.Cmp, ops ...clientv3.Op) (int64, error) {
	r, err := once(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return c.kv.Txn(ctx).If(cmps...).Then(ops...).Commit()
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if !r.Succeeded {
		return r.Header.Revision, fmt.Errorf("%s: %w", what, ErrConflict)
	}
	return r.Header.Revision, nil
}

func modIs(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}

func createdAt(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", rev)
}

func absent(key string) clientv3.Cmp { return createdAt(key, 0) }

func exists(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
}

// chunks cuts records into runs that fit one transaction each.
func chunks[T any](records []T, size func(T) int) [][]T {
	var out [][]T
	start, bytes := 0, 0
	for i, r := range records {
		n := size(r)
		if i > start && (i-start >= chunkRecords || bytes+n > chunkBytes) {
			out = append(out, records[start:i])
			start, bytes = i, 0
		}
		bytes += n
	}
	if start < len(records) {
		out = append(out, slices.Clip(records[start:]))
	}
	return out
}
