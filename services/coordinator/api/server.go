// Package api answers users: the gRPC face of the coordinator. It reads the
// mirror, and writes nothing but submissions and what users want of them.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
	"neoteny/services/coordinator/results"
	"neoteny/services/coordinator/schedule"
)

const (
	// readTime is how long a request waits for the mirror to be read or to show
	// what the request has written.
	readTime = 5 * time.Second
	// writeTime is how long a request goes on trying to write to etcd.
	writeTime = 30 * time.Second
	// deleteTime is how long a request waits for a deletion.
	deleteTime = 2 * time.Minute
)

var errNoEtcd = fmt.Errorf("etcd does not answer for %s", writeTime)

// Deps are what a server works with; all are required.
type Deps struct {
	Mirror  *mirror.Mirror
	Cluster *cluster.Client
	Tables  results.Tables
	Model   model.Model
	Logger  *slog.Logger
	// Accepted is called with the plan of each new submission.
	Accepted func(experiment string, plan *model.Plan)
}

// Config tunes a server; all fields must be set.
type Config struct {
	Schedule      schedule.Config
	WatchInterval time.Duration // least time between two messages of WatchExperiment
	Tick          time.Duration // how often to look for what changes with time alone
	Now           func() time.Time
}

// Server is pb.ExperimentServiceServer.
type Server struct {
	pb.UnimplementedExperimentServiceServer

	mirror   *mirror.Mirror
	cluster  *cluster.Client
	tables   results.Tables
	model    model.Model
	log      *slog.Logger
	accepted func(experiment string, plan *model.Plan)
	cfg      Config
}

var _ pb.ExperimentServiceServer = (*Server)(nil)

// New makes a server. It answers once the mirror has been read.
func New(d Deps, cfg Config) *Server {
	return &Server{
		mirror: d.Mirror, cluster: d.Cluster, tables: d.Tables, model: d.Model,
		log: d.Logger, accepted: d.Accepted, cfg: cfg,
	}
}

// at is the snapshot that explains what runs wait for.
func (s *Server) at(st *mirror.State) schedule.Snapshot {
	return schedule.Snapshot{State: st, Now: s.cfg.Now(), Config: s.cfg.Schedule}
}

// find returns an experiment; NOT_FOUND when there is none, or it is being
// deleted.
func find(st *mirror.State, id string) (*mirror.Experiment, error) {
	e := st.Experiments[id]
	if e == nil || e.Rec == nil || e.Control == pb.Desired_DESIRED_DELETE {
		return nil, status.Errorf(codes.NotFound, "no experiment %q", id)
	}
	return e, nil
}

// synced waits until the records are read.
func (s *Server) synced(ctx context.Context) error {
	if s.mirror.Wait(ctx, readTime, func(st *mirror.State) bool { return st.Rev > 0 }) {
		return nil
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Error(codes.Unavailable,
		"the coordinator has not read its records yet: it is starting, or etcd does not answer")
}

// unavailable is the status of an error of etcd or the blob store.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.Error(status.FromContextError(ctx.Err()).Code(), err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}
