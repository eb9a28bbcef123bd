package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/blob"
	"neoteny/internal/etcd"
	"neoteny/internal/leaktest"
	pb "neoteny/proto/neoteny/v1"
)

var endpoints []string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cluster")
	if err != nil {
		panic(err)
	}
	srv, err := etcd.Start(context.Background(), etcd.Config{Dir: dir, Throwaway: true})
	if err != nil {
		panic(err)
	}
	endpoints = srv.Endpoints()
	code := m.Run()
	srv.Close()
	_ = os.RemoveAll(dir)
	os.Exit(leaktest.Exit(code))
}

const (
	limit = 20 * time.Second
	poll  = 2 * time.Millisecond
)

var prefixes atomic.Int64

func freshPrefix() string { return fmt.Sprintf("/t%d/", prefixes.Add(1)) }

func dial(t require.TestingT, cleanup func(func()), opts Options, at ...string) *Client {
	if opts.Prefix == "" {
		opts.Prefix = freshPrefix()
	}
	if len(at) == 0 {
		at = endpoints
	}
	c, err := Dial(context.Background(), at, opts)
	require.NoError(t, err)
	cleanup(func() { _ = c.Close() })
	return c
}

func memBlob(t *testing.T) *blob.Bucket {
	b, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// gate passes connections on to etcd until it is shut.
type gate struct {
	lis    net.Listener
	target string

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newGate(t *testing.T) *gate {
	dir, err := os.MkdirTemp("", "gate") // t.TempDir is too long for a socket
	require.NoError(t, err)
	lis, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	g := &gate{lis: lis, target: strings.TrimPrefix(endpoints[0], "unix://"), conns: map[net.Conn]bool{}}
	g.wg.Go(g.accept)
	t.Cleanup(func() {
		_ = lis.Close()
		g.close()
		g.wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return g
}

func (g *gate) endpoint() string { return "unix://" + g.lis.Addr().String() }

func (g *gate) accept() {
	for {
		in, err := g.lis.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", g.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		g.mu.Lock()
		if g.shut {
			g.mu.Unlock()
			_, _ = in.Close(), out.Close()
			continue
		}
		g.conns[in], g.conns[out] = true, true
		g.mu.Unlock()
		g.wg.Go(func() { _, _ = io.Copy(out, in); _, _ = in.Close(), out.Close() })
		g.wg.Go(func() { _, _ = io.Copy(in, out); _, _ = in.Close(), out.Close() })
	}
}

// close cuts every connection and lets no new one through.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

var errTest = errors.New("test")

// lossyKV loses transactions or their answers, in the order of losses.
type lossyKV struct {
	clientv3.KV
	losses []loss
}

type loss int

const (
	noLoss loss = iota
	requestLost
	answerLost
)

func (k *lossyKV) Txn(ctx context.Context) clientv3.Txn { return &lossyTxn{k.KV.Txn(ctx), k} }

// racyKV does something after the first read of what begins with a prefix.
type racyKV struct {
	clientv3.KV
	prefix string
	once   sync.Once
	race   func()
}

func (k *racyKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	r, err := k.KV.Get(ctx, key, opts...)
	if strings.HasPrefix(key, k.prefix) {
		k.once.Do(k.race)
	}
	return r, err
}

type lossyTxn struct {
	clientv3.Txn
	kv *lossyKV
}

func (t *lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(cs...); return t }
func (t *lossyTxn) Then(os ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(os...); return t }
func (t *lossyTxn) Else(os ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(os...); return t }

func (t *lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	l := noLoss
	if len(t.kv.losses) > 0 {
		l, t.kv.losses = t.kv.losses[0], t.kv.losses[1:]
	}
	if l == requestLost {
		return nil, status.Error(codes.Unavailable, "lost")
	}
	r, err := t.Txn.Commit()
	if l == answerLost {
		return nil, status.Error(codes.Unavailable, "answer lost")
	}
	return r, err
}

func segmentOf(run string, first, end int64) *pb.Segment {
	return &pb.Segment{Ref: &pb.SegmentRef{Run: run, Track: MainTrack, FirstStep: first, EndStep: end}, State: pb.SegmentState_SEGMENT_STATE_PENDING}
}

// seed makes an experiment with one run of one segment.
func seed(t require.TestingT, c *Client) (rec *pb.ExperimentRecord, seg *pb.Segment) {
	ctx := context.Background()
	rec, _, err := c.CreateSubmission(ctx, "r", &pb.ExperimentSpec{Name: "e"}, nil, time.Unix(1, 0))
	require.NoError(t, err)
	_, err = c.AddTrials(ctx, rec.Id, modOf(t, c, pfxExp+rec.Id), []*pb.TrialRecord{{Name: "t", CanonicalSpec: []byte("{}")}})
	require.NoError(t, err)
	run := rec.Id + "/t/0"
	seg = segmentOf(run, 0, 100)
	_, err = c.AddRuns(ctx, rec.Id, modOf(t, c, pfxExp+rec.Id), []NewRun{{&pb.Run{Id: run, Experiment: rec.Id, Trial: "t", Steps: 100}, seg}})
	require.NoError(t, err)
	return rec, seg
}

func modOf(t require.TestingT, c *Client, key string) int64 {
	r, err := c.kv.Get(context.Background(), key)
	require.NoError(t, err)
	require.Len(t, r.Kvs, 1, key)
	return r.Kvs[0].ModRevision
}

func (c *Client) segment(t require.TestingT, ref *pb.SegmentRef) (*pb.Segment, Rev) {
	g := &pb.Segment{}
	rev, err := c.get(context.Background(), segmentKey(ref), g)
	if errors.Is(err, ErrNotFound) {
		return nil, rev
	}
	require.NoError(t, err)
	return g, rev
}

func (c *Client) holder(t require.TestingT, id string) Holder {
	rev, err := c.get(context.Background(), pfxWorker+id, &pb.Worker{})
	require.NoError(t, err)
	return Holder{id, rev}
}

func done(end int64) *pb.SegmentResult {
	return &pb.SegmentResult{EndStep: end, Checkpoint: &pb.BlobRef{Key: fmt.Sprint("c", end)}}
}
