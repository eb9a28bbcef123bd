package worker

import (
	"context"
	"time"

	"neoteny/internal/cluster"
	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	pb "neoteny/proto/neoteny/v1"
)

// What the worker uses of the cluster, the blob store and the metrics client. Tests
// put fakes in their place; what it uses of the engine is in engine.go.

// membership is the worker's presence in the cluster.
type membership interface {
	Register(ctx context.Context, w *pb.Worker, ttl time.Duration) (registration, error)
	Assignments(ctx context.Context, workerID string) (<-chan cluster.AssignmentEvent, error)
	RunSpec(ctx context.Context, runID string) (canonicalJSON []byte, run *pb.Run, err error)
}

type registration interface {
	Lost() <-chan struct{}
	Update(ctx context.Context, w *pb.Worker) error
	Close(ctx context.Context) error
}

// ledger is where segments end.
type ledger interface {
	Commit(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error
	Yield(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error
	Release(ctx context.Context, ref *pb.SegmentRef, attempt int64) error
	Fail(ctx context.Context, ref *pb.SegmentRef, attempt int64, worker, msg string, permanent bool) error
}

type store interface {
	Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error)
	Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error)
}

type metrics interface {
	Open(run, track, arm string, attempt, firstStep int64) (metricWriter, error)
}

type metricWriter interface {
	Extend()
	Append(ctx context.Context, r metric.Rows) error
	Flush(ctx context.Context) (*pb.MetricManifest, error)
	Finish(ctx context.Context) (*pb.MetricManifest, error)
	Close()
}

// clusterAdapter makes a cluster.Client a membership.
type clusterAdapter struct{ *cluster.Client }

func (a clusterAdapter) Register(ctx context.Context, w *pb.Worker, ttl time.Duration) (registration, error) {
	r, err := a.Client.Register(ctx, w, ttl)
	if err != nil {
		return nil, err // not a nil *Registration in an interface
	}
	return r, nil
}

// metricsAdapter makes a metricsclient.Client the worker's metrics.
type metricsAdapter struct{ *metricsclient.Client }

func (a metricsAdapter) Open(run, track, arm string, attempt, firstStep int64) (metricWriter, error) {
	w, err := a.Client.Open(run, track, arm, attempt, firstStep)
	if err != nil {
		return nil, err
	}
	return w, nil
}
