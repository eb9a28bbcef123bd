package metrics

import (
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// maxAhead is how many requests of a stream wait while one is made durable.
const maxAhead = 4

// ReportMetrics implements pb.MetricsServiceServer. Requests that arrive while
// an earlier one is being synced are made durable together. The stream ends with
// RESOURCE_EXHAUSTED where the disk refuses: what was not acknowledged may be
// sent again.
func (s *Service) ReportMetrics(stream grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	done, ok := s.begin()
	if !ok {
		return errStopping
	}
	defer done()
	requests := make(chan *pb.ReportMetricsRequest, maxAhead)
	received := make(chan error, 1)
	// It ends with the stream, which ends when this method returns.
	go func() {
		defer close(requests)
		for {
			req, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			select {
			case requests <- req:
			case <-stream.Context().Done():
				received <- stream.Context().Err()
				return
			}
		}
	}()
	for {
		var batches []*pb.MetricBatch
		select {
		case <-s.stop.Done():
			return errStopping
		case req, more := <-requests:
			if !more {
				if err := <-received; !errors.Is(err, io.EOF) {
					return err
				}
				return nil
			}
			batches = req.GetBatches()
		}
		for range len(requests) {
			if req, more := <-requests; more {
				batches = append(batches, req.GetBatches()...)
			}
		}
		acks, err := s.report(batches)
		if len(acks) > 0 {
			if err := stream.Send(&pb.ReportMetricsResponse{Acks: acks}); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// parallelSyncs is how many tracks of a request are synced at a time; the file
// system joins their journal commits.
const parallelSyncs = 16

// report makes batches durable and answers for each of their tracks. With an
// error, which is a status, the answers that come with it still hold.
func (s *Service) report(batches []*pb.MetricBatch) ([]*pb.MetricAck, error) {
	s.erasing.RLock()
	defer s.erasing.RUnlock()
	var order []metric.Track
	byTrack := map[metric.Track][]*pb.MetricBatch{}
	var acks []*pb.MetricAck
	for _, b := range batches {
		s.stats.batches.Inc()
		key, err := metric.NewTrack(b.GetRun(), b.GetTrack())
		if err != nil {
			s.stats.refused.Inc()
			acks = append(acks, refuseUnknown(b, err))
			continue
		}
		if _, ok := byTrack[key]; !ok {
			order = append(order, key)
		}
		byTrack[key] = append(byTrack[key], b)
	}
	results := make([]*ingestResult, len(order))
	errs := make([]error, len(order))
	var g errgroup.Group
	g.SetLimit(parallelSyncs)
	for i, key := range order {
		g.Go(func() error {
			results[i], errs[i] = s.reportTrack(key, byTrack[key])
			return nil
		})
	}
	_ = g.Wait() // the errors are kept by track
	for i, r := range results {
		if r != nil {
			acks = append(acks, r.acks...)
		} else if len(byTrack[order[i]]) > 0 {
			s.stats.failed.Add(float64(len(byTrack[order[i]])))
		}
	}
	for i, err := range errs {
		if err != nil {
			s.log.Error("metrics are not durable", "run", order[i].Run, "track", order[i].Name, "error", err)
			return acks, status.Errorf(codes.ResourceExhausted, "metrics of %s are not durable: %v", order[i], err)
		}
	}
	return acks, nil
}

// refuseUnknown answers for a batch whose key is not one.
func refuseUnknown(b *pb.MetricBatch, err error) *pb.MetricAck {
	return &pb.MetricAck{Run: validText(b.GetRun()), Track: validText(b.GetTrack()), Error: err.Error()}
}

// validText keeps bytes that are no text from making the answer unsendable.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

func (s *Service) reportTrack(key metric.Track, batches []*pb.MetricBatch) (*ingestResult, error) {
	for {
		t, err := s.store.lookupOrAdd(key)
		if err != nil {
			return nil, err
		}
		if goesOn(t, batches) {
			if err := s.reopen(key); err != nil {
				return nil, err
			}
			if t, err = s.store.lookupOrAdd(key); err != nil {
				return nil, err
			}
		}
		if r, err := s.reportLocked(t, batches); r != nil || err != nil {
			return r, err
		}
	}
}

// reportLocked returns nothing where the track was dropped meanwhile.
func (s *Service) reportLocked(t *track, batches []*pb.MetricBatch) (*ingestResult, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil, nil
	}
	start := time.Now()
	r, err := s.store.ingest(t, batches)
	if err == nil && r.bytes > 0 {
		s.stats.sync.Observe(time.Since(start).Seconds())
	}
	if t.size == 0 && !t.sealed {
		// Asking about a run, or failing to start one, leaves nothing behind.
		s.store.drop(t)
	}
	if err != nil {
		return nil, err
	}
	s.stats.count(r)
	s.live.observe(t, r)
	if r.completed {
		s.seals.add(t)
	}
	return r, nil
}
