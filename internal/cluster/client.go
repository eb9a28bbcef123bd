// Package cluster is what the coordinator and the workers share through etcd:
// the keys, the records under them, and every transaction on them. No other package
// imports the etcd client, so what may happen to a record is to be read here.
//
// The fence is a segment's attempt, raised only by Assign. A worker that lost
// its lease may still commit what it did until another worker is assigned;
// after that its writes end with [ErrFenced].
//
// Methods that workers call go on trying while etcd is away, until their
// context ends. Those of the coordinator's loop try once: the loop looks at the
// records again and decides anew, and a compare in each transaction makes the
// second try harmless.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "neoteny/proto/neoteny/v1"
)

// Errors that callers branch on.
var (
	// ErrFenced: the segment has been given to another worker, or is not wanted
	// any more. The work is to be dropped.
	ErrFenced = errors.New("fenced")
	// ErrConflict: the records are not (or no longer) what the caller believed.
	ErrConflict = errors.New("conflict")
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrSchema: the keys in etcd were written in another format.
	ErrSchema = errors.New("other schema")
)

// errAgain asks retry for another try: another client wrote in between.
var errAgain = errors.New("changed meanwhile")

// Prefix is where everything lives in etcd, unless Options say otherwise.
const Prefix = "/neoteny/v1/"

// schema is the version of keys and records, written once per cluster.
const schema = "1"

// Overflow keeps what is too large for a record; a blob bucket.
type Overflow interface {
	Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error)
	Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error)
}

// Options are what a client may be given.
type Options struct {
	// Prefix of all keys, for several clusters in one etcd; empty means the
	// constant of that name.
	Prefix string
	// Overflow takes records' parts over 256 KiB. Without it they are errors.
	Overflow Overflow
	// Logger; nil drops everything.
	Logger *slog.Logger
	// DialTimeout bounds Dial; 0 means 10 seconds.
	DialTimeout time.Duration
	// Resync is how often watches list everything anew, for what etcd may have
	// failed to tell; 0 means 10 minutes.
	Resync time.Duration
	// PageSize of lists; 0 means 500.
	PageSize int
}

// Client is a connection to the cluster's etcd. Its methods may be called
// concurrently.
type Client struct {
	etcd  *clientv3.Client
	kv    clientv3.KV
	watch clientv3.Watcher
	lease clientv3.Lease
	over  Overflow
	log   *slog.Logger
	opts  Options
	where string
}

// Dial connects to etcd at the endpoints (host:port, http://host:port or
// unix:///path) and checks the schema, writing it where there is none yet.
func Dial(ctx context.Context, endpoints []string, opts Options) (*Client, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("no etcd endpoint given")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Prefix == "" {
		opts.Prefix = Prefix
	}
	if opts.DialTimeout <= 0 {
		opts.DialTimeout = 10 * time.Second
	}
	if opts.Resync <= 0 {
		opts.Resync = 10 * time.Minute
	}
	if opts.PageSize <= 0 {
		opts.PageSize = 500
	}
	where := strings.Join(endpoints, ",")
	ec, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", where, err)
	}
	c := &Client{
		etcd:  ec,
		kv:    namespace.NewKV(ec.KV, opts.Prefix),
		watch: namespace.NewWatcher(ec.Watcher, opts.Prefix),
		lease: ec.Lease,
		over:  opts.Overflow,
		log:   opts.Logger,
		opts:  opts,
		where: where,
	}
	dctx, cancel := context.WithTimeoutCause(ctx, opts.DialTimeout, fmt.Errorf("no answer within %s", opts.DialTimeout))
	defer cancel()
	if err := c.retry(dctx, "check schema", c.checkSchema); err != nil {
		_ = ec.Close()
		if ctx.Err() == nil && IsUnavailable(err) {
			err = cmp.Or(refusal(ctx, endpoints), err)
		}
		return nil, fmt.Errorf("etcd at %s: %w", where, err)
	}
	return c, nil
}

// refusal says why none of the endpoints takes connections (no such host,
// refused), which the etcd client keeps to itself; nil where one does.
func refusal(ctx context.Context, endpoints []string) (first error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, e := range endpoints {
		network, address := "tcp", e
		if scheme, rest, ok := strings.Cut(e, "://"); ok {
			address = rest
			if scheme == "unix" {
				network = scheme
			}
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_ = conn.Close()
			return nil
		}
		first = cmp.Or(first, err)
	}
	return first
}

func (c *Client) checkSchema(ctx context.Context) error {
	r, err := c.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(keySchema), "=", 0)).
		Then(clientv3.OpPut(keySchema, schema)).
		Else(clientv3.OpGet(keySchema)).Commit()
	if err != nil || r.Succeeded {
		return err
	}
	if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 && string(kvs[0].Value) != schema {
		return fmt.Errorf("records under %s have format %q, this program reads format %q; use another etcd or the program that wrote them: %w", c.opts.Prefix, kvs[0].Value, schema, ErrSchema)
	}
	return nil
}

// SetNumerics records of which numerics version runs are made from now on.
func (c *Client) SetNumerics(ctx context.Context, version int32) error {
	return c.retry(ctx, "record numerics version", func(ctx context.Context) error {
		_, err := c.kv.Put(ctx, keyNumerics, strconv.Itoa(int(version)))
		return err
	})
}

// Numerics returns the numerics version of the runs that are made now, 0 where
// no coordinator has recorded one. It tries once.
func (c *Client) Numerics(ctx context.Context) (int32, error) {
	r, err := once(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return c.kv.Get(ctx, keyNumerics) })
	if err != nil || len(r.Kvs) == 0 {
		return 0, err
	}
	v, err := strconv.ParseInt(string(r.Kvs[0].Value), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("numerics version in etcd: %w", err)
	}
	return int32(v), nil
}

// Close ends the connection. Watches and registrations end with their contexts,
// before.
func (c *Client) Close() error {
	if err := c.etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}

// Ping reports whether etcd answers, through a quorum. It tries once.
func (c *Client) Ping(ctx context.Context) error {
	if _, err := c.Revision(ctx); err != nil {
		return fmt.Errorf("etcd at %s: %w", c.where, err)
	}
	return nil
}

// Revision returns the present revision, read through a quorum.
func (c *Client) Revision(ctx context.Context) (int64, error) {
	r, err := c.kv.Get(ctx, keySchema, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return r.Header.Revision, nil
}

// Size returns the size of etcd's database in bytes.
func (c *Client) Size(ctx context.Context) (int64, error) {
	r, err := c.etcd.Status(ctx, c.etcd.Endpoints()[0])
	if err != nil {
		return 0, err
	}
	return r.DbSize, nil
}

const (
	tryTimeout  = 5 * time.Second // of one request
	backoffBase = 20 * time.Millisecond
	backoffMax  = 2 * time.Second
	complainAt  = 3 * time.Second // etcd may be away this long before we say so
)

// retry calls fn until it succeeds, fails for good, or ctx ends. What fn does
// must be safe to repeat when the outcome of the last time is unknown.
func (c *Client) retry(ctx context.Context, what string, fn func(context.Context) error) error {
	since, complained := time.Now(), false
	for try := 0; ; try++ {
		tctx, cancel := context.WithTimeout(ctx, tryTimeout)
		err := fn(tctx)
		cancel()
		if err == nil || !transient(err) {
			return err
		}
		if ctx.Err() == nil && !complained && time.Since(since) > complainAt {
			complained = true
			c.log.Warn("etcd does not answer, trying on", "op", what, "etcd", c.where, "error", err)
		}
		if err := sleep(ctx, jitter(try)); err != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), cause(err, ctx)))
		}
	}
}

// cause keeps errors.Is(err, context.Canceled) true where the cause hides it.
func cause(err error, ctx context.Context) error {
	if errors.Is(context.Cause(ctx), err) {
		return nil
	}
	return err
}

// once calls fn with the time limit of one request.
func once[T any](ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return fn(ctx)
}

// jitter is full-jitter exponential backoff.
func jitter(try int) time.Duration {
	limit := backoffMax
	if try < 8 {
		limit = min(limit, backoffBase<<try)
	}
	return time.Duration(rand.Int64N(int64(limit)) + 1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// IsUnavailable reports whether err means that etcd did not answer, or not in
// time. Whether the request took effect is unknown then.
func IsUnavailable(err error) bool { return err != nil && transient(err) }

// transient reports whether trying again can help. The outcome of the request is
// unknown then.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, errAgain) {
		return true
	}
	var ee rpctypes.EtcdError
	code := status.Code(err)
	if errors.As(err, &ee) {
		code = ee.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	case codes.ResourceExhausted:
		// Too many requests, or the database is full until it is compacted.
		return true
	}
	return false
}
