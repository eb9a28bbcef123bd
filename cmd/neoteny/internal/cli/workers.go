package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/datastore"
	"neoteny/internal/metricsclient"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/worker"
)

// workerParts is what a worker is made of, in a process of its own or with
// others in one.
type workerParts struct {
	id, address string
	slots       int           // 0: one per core
	spill       string        // folder, of this worker alone
	label       string        // tells workers of one process apart in metrics; may be empty
	lanes       int           // segments of a small network in one slot; 0: the default
	drain       time.Duration // how long it may take to save what is under way; 0: the default
	lease       time.Duration // how long its work waits for it after its death; 0: the default

	cluster  *cluster.Client
	blob     *blob.Bucket
	metrics  pb.MetricsServiceClient
	data     data.Source
	dataDir  string
	log      *slog.Logger
	tel      *telemetry.Telemetry
	counters *telemetry.Worker
}

// runWorker runs a worker until ctx ends and it has drained.
func runWorker(ctx context.Context, p workerParts) (err error) {
	registerer := p.tel.Registerer()
	ready := "worker"
	if p.label != "" {
		registerer, ready = p.tel.RegistererWith("worker", p.label), "worker "+p.label
	}
	log := p.log.With("worker", p.id)
	stream, err := metricsclient.New(p.metrics, metricsclient.Config{SpillDir: p.spill, Logger: log, Registerer: registerer})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := stream.Close(); err == nil {
			err = cerr
		}
	}()
	w, err := worker.New(worker.Deps{
		Cluster: p.cluster, Blob: p.blob, Metrics: stream, Data: p.data, Logger: log, Telemetry: p.counters,
		Missing: func() []string { return datastore.Lacking(p.dataDir) },
	}, worker.Config{DataFolder: p.dataDir, ID: p.id, Address: p.address, Version: programVersion(), ISA: isa(), Slots: p.slots, Lanes: p.lanes, LeaseTTL: p.lease, DrainTimeout: p.drain})
	if err != nil {
		return err
	}
	p.tel.AddReadiness(ready, w.Ready)
	if err := w.Run(ctx); err != nil {
		if ctx.Err() != nil && isCancelled(err) {
			return nil
		}
		return err
	}
	if ctx.Err() == nil {
		return errors.New("worker ended by itself")
	}
	return nil
}

// newWorkerID names a worker so that no two of a cluster are alike.
func newWorkerID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "worker"
	}
	return strings.ReplaceAll(filepath.Base(host), "/", "-") + "-" + uuid.NewString()[:8]
}
