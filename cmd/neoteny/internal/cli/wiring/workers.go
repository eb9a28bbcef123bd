package wiring

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/build"
	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/datastore"
	"neoteny/internal/metricsclient"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/worker"
)

// WorkerParts is what a worker is made of, in a process of its own or with
// others in one.
type WorkerParts struct {
	ID, Address string
	Slots       int           // 0: one per core
	Spill       string        // folder, of this worker alone
	label       string        // distinguishes workers of one process in metrics; may be empty
	Lanes       int           // segments of a small network in one slot; 0: the default
	Drain       time.Duration // how long it may take to save what is under way; 0: the default
	Lease       time.Duration // how long its work waits for it after its death; 0: the default

	Cluster  *cluster.Client
	Blob     *blob.Bucket
	Metrics  pb.MetricsServiceClient
	Data     data.Source
	DataDir  string
	Log      *slog.Logger
	Tel      *telemetry.Telemetry
	Counters *telemetry.Worker
}

// RunWorker runs a worker until ctx ends and it has drained.
func RunWorker(ctx context.Context, p WorkerParts) (err error) {
	registerer := p.Tel.Registerer()
	ready := "worker"
	if p.label != "" {
		registerer, ready = p.Tel.RegistererWith("worker", p.label), "worker "+p.label
	}
	log := p.Log.With("worker", p.ID)
	stream, err := metricsclient.New(p.Metrics, metricsclient.Config{SpillDir: p.Spill, Logger: log, Registerer: registerer})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := stream.Close(); err == nil {
			err = cerr
		}
	}()
	w, err := worker.New(worker.Deps{
		Cluster: p.Cluster, Blob: p.Blob, Metrics: stream, Data: p.Data, Logger: log, Telemetry: p.Counters,
		Missing: func() []string { return datastore.Lacking(p.DataDir) },
	}, worker.Config{DataFolder: p.DataDir, ID: p.ID, Address: p.Address, Version: build.Version(), ISA: build.ISA(), Slots: p.Slots, Lanes: p.Lanes, LeaseTTL: p.Lease, DrainTimeout: p.Drain})
	if err != nil {
		return err
	}
	p.Tel.AddReadiness(ready, w.Ready)
	if err := w.Run(ctx); err != nil {
		if ctx.Err() != nil && app.IsCancelled(err) {
			return nil
		}
		return err
	}
	if ctx.Err() == nil {
		return errors.New("worker ended by itself")
	}
	return nil
}

// NewWorkerID names a worker so that no two of a cluster are alike.
func NewWorkerID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "worker"
	}
	return strings.ReplaceAll(filepath.Base(host), "/", "-") + "-" + uuid.NewString()[:8]
}
