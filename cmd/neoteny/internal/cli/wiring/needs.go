package wiring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/datastore"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

const (
	etcdTimeout = 5 * time.Second // of one try
	needPause   = 2 * time.Second // between tries
	needRemind  = time.Minute     // between log lines that say the same

	numericsInterval = 5 * time.Second
)

// Need is something that a service cannot begin without.
type Need struct {
	Name string
	Open func(context.Context) error
	// Final reports whether an error is permanent, so that waiting cannot fix it; nil: none is.
	Final func(error) bool
	// Problem gets the error of each failed try; nil: it is not needed.
	Problem func(context.Context, error)
	// Ready is the readiness check once it is open; nil: always ready.
	Ready func(context.Context) error
}

// Await opens a need and goes on trying until ctx ends: etcd may come later, a
// volume be repaired, and a service that stays says in its readiness what it waits
// for, which one that ends cannot.
func Await(ctx context.Context, log *slog.Logger, tel *telemetry.Telemetry, n Need) error {
	var mu sync.Mutex
	last, open := errors.New("not tried yet"), false
	tel.AddReadiness(n.Name, func(ctx context.Context) error {
		mu.Lock()
		err, open := last, open
		mu.Unlock()
		if !open {
			return err
		}
		if n.Ready == nil {
			return nil
		}
		return n.Ready(ctx)
	})
	said, when := "", time.Time{}
	for {
		err := n.Open(ctx)
		if err == nil {
			mu.Lock()
			open = true
			mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n.Final != nil && n.Final(err) {
			return err
		}
		// Probes, events and logs have one line for it.
		s := strings.ReplaceAll(app.Sentence(err), "\n", ": ")
		mu.Lock()
		last = errors.New(s)
		mu.Unlock()
		if s != said || time.Since(when) > needRemind {
			log.Warn("cannot begin, trying again", "need", n.Name, "error", s)
			said, when = s, time.Now()
		}
		if n.Problem != nil {
			n.Problem(ctx, fmt.Errorf("%s: %s", n.Name, s))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(needPause):
		}
	}
}

// NotOfTheFolder reports errors that are not about a folder's permissions or
// space: a wrong address stays wrong.
func NotOfTheFolder(err error) bool {
	if errors.Is(err, cluster.ErrOtherStore) || errors.Is(err, cluster.ErrNoStore) || cluster.IsUnavailable(err) {
		return false // it is said in the worker's record, and may be put right
	}
	return !errors.As(err, new(*fs.PathError)) && !errors.Is(err, blob.ErrFull)
}

// Writable makes a folder where it is missing and tries to write to it.
func Writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("folder cannot be made: %w", err)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("folder cannot be written to: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Lacks says which of the named datasets a data folder lacks.
func Lacks(dir string, names []string) error {
	lacking := datastore.Lacking(dir)
	var errs []error
	for _, name := range names {
		if _, known := data.Lookup(name); !known {
			errs = append(errs, fmt.Errorf("no dataset is called %s", name))
		} else if err := datastore.Access(dir, name); err != nil {
			errs = append(errs, err)
		} else if slices.Contains(lacking, name) {
			errs = append(errs, &data.MissingError{Name: name, Dir: dir})
		}
	}
	return errors.Join(errs...)
}

// Starting answers on a service's port with the reason why it does not serve
// yet, until the function it returns is called.
func Starting(lis net.Listener, tel *telemetry.Telemetry) (stop func()) {
	tcp, ok := lis.(*net.TCPListener)
	if !ok {
		return func() {}
	}
	return rpc.Starting(tcp, tel.NotReady)
}

// sameStore compares a bucket with the cluster's, by identity.
func sameStore(ctx context.Context, bucket *blob.Bucket, claim func(ctx context.Context, identity, address string) error) error {
	id, err := bucket.Identity(ctx)
	if err != nil {
		return err
	}
	return claim(ctx, id, bucket.URL())
}

// OpenStores connects to etcd and opens the blob store, and waits for both. note
// reports problems of the store to the cluster; nil, as a coordinator has it: they are
// not reported. The coordinator says which store is the cluster's; a worker with another
// one says so in its record, and gets no work.
func OpenStores(ctx context.Context, f StoreFlags, log *slog.Logger, tel *telemetry.Telemetry, note *Notice) (*cluster.Client, *blob.Bucket, error) {
	var store overflow
	cl, err := dialCluster(ctx, f.Etcd, &store, log, tel)
	if err != nil {
		return nil, nil, err
	}
	var bucket *blob.Bucket
	n := Need{Name: "blob store", Open: func(ctx context.Context) (err error) {
		if bucket, err = blob.Open(ctx, f.Blob); err != nil {
			return err
		}
		claim := cl.CheckStore
		if note == nil {
			claim = cl.ClaimStore
		}
		if err := sameStore(ctx, bucket, claim); err != nil {
			return errors.Join(err, bucket.Close())
		}
		return nil
	}, Final: NotOfTheFolder, Ready: func(ctx context.Context) error { return bucket.Ping(ctx) }}
	if note != nil {
		note.cluster = cl
		n.Problem = note.Say
	}
	if err := Await(ctx, log, tel, n); err != nil {
		if note != nil {
			note.Close(ctx)
		}
		return nil, nil, errors.Join(err, cl.Close())
	}
	store.bucket.Store(bucket)
	return cl, bucket, nil
}

// overflow is a blob store that is opened after the cluster it serves.
type overflow struct{ bucket atomic.Pointer[blob.Bucket] }

var errStoreClosed = errors.New("blob store is not open yet")

// Put implements cluster.Overflow.
func (o *overflow) Put(ctx context.Context, key string, b []byte) (*pb.BlobRef, error) {
	if s := o.bucket.Load(); s != nil {
		return s.Put(ctx, key, b)
	}
	return nil, errStoreClosed
}

// Get implements cluster.Overflow.
func (o *overflow) Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error) {
	if s := o.bucket.Load(); s != nil {
		return s.Get(ctx, ref, limit)
	}
	return nil, errStoreClosed
}

// dialCluster connects to etcd, for which it waits.
func dialCluster(ctx context.Context, endpoints []string, store cluster.Overflow, log *slog.Logger, tel *telemetry.Telemetry) (*cluster.Client, error) {
	var c *cluster.Client
	err := Await(ctx, log, tel, Need{
		Name: "etcd",
		Open: func(ctx context.Context) (err error) {
			if c, err = cluster.Dial(ctx, endpoints, cluster.Options{Overflow: store, Logger: log, DialTimeout: etcdTimeout}); err != nil {
				return fmt.Errorf("waiting for %w", err)
			}
			return nil
		},
		Final: func(err error) bool { return errors.Is(err, cluster.ErrSchema) },
		Ready: func(ctx context.Context) error { return c.Ping(ctx) },
	})
	if err != nil {
		return nil, err
	}
	log.Info("connected to etcd", "endpoints", endpoints)
	return c, nil
}

// CompareNumerics looks every few seconds of which numerics version runs are made
// (asked of now; 0: not known yet) and makes it a readiness check that it
// is this program's: a worker of another version waits for ever, and its record
// alone would not explain why it idles. It goes on until ctx ends.
func CompareNumerics(ctx context.Context, log *slog.Logger, tel *telemetry.Telemetry, now func(context.Context) (int32, error)) {
	var other atomic.Int32 // 0: none
	tel.AddReadiness("numerics version", func(context.Context) error {
		if v := other.Load(); v != 0 {
			return fmt.Errorf("the coordinator makes runs of version %d, this worker has %d and gets none of them: deploy both from one image", v, engine.NumericsVersion)
		}
		return nil
	})
	for {
		if v, err := now(ctx); err == nil {
			if v == engine.NumericsVersion {
				v = 0
			}
			switch was := other.Swap(v); {
			case v == was:
			case v != 0:
				log.Warn("the coordinator makes runs of another numerics version, this worker gets none of them: deploy both from one image", "runs", v, "worker", engine.NumericsVersion)
			default:
				log.Info("the coordinator makes runs of this worker's numerics version again")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(numericsInterval):
		}
	}
}

// Notice is a worker's registration while it cannot begin: it gets no work, and
// users see why.
type Notice struct {
	Log     *slog.Logger
	Record  *pb.Worker
	cluster *cluster.Client
	reg     *cluster.Registration
}

// noticeLease is how long a notice outlives its process.
const noticeLease = 10 * time.Second

// Say puts a problem into the worker's record.
func (n *Notice) Say(ctx context.Context, problem error) {
	if n.reg != nil {
		select {
		case <-n.reg.Lost():
			n.Close(ctx)
		default:
		}
	}
	n.Record.Problem = app.Sentence(problem)
	var err error
	if n.reg == nil {
		n.reg, err = n.cluster.Register(ctx, n.Record, noticeLease)
	} else {
		err = n.reg.Update(ctx, n.Record)
	}
	if err != nil {
		n.Log.Debug("the problem could not be reported to the cluster", "error", err)
	}
}

// Close ends the registration, if there is one.
func (n *Notice) Close(ctx context.Context) {
	if n.reg == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := n.reg.Close(ctx); err != nil {
		n.Log.Debug("notice could not be withdrawn", "error", err)
	}
	n.reg = nil
}

type StoreFlags struct {
	Etcd []string `help:"Addresses of etcd." required:"" placeholder:"HOST:PORT,…"`
	Blob string   `help:"Store of checkpoints and tables, the same for all: a folder that coordinator and workers share, file:///folder, or s3://bucket (the container image; programs built with -tags s3), or gs://bucket (-tags cloud)." required:"" placeholder:"URL"`
}
