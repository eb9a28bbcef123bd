package coordinator

import (
	"context"
	"time"

	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// measure keeps the size of etcd's database, which takes a request to know.
func (s *Service) measure(ctx context.Context) {
	for {
		size, err := s.cluster.Size(ctx)
		if err != nil {
			size = -1
		}
		s.size.Store(size)
		timer := time.NewTimer(15 * time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// stats counts for the metrics.
func (s *Service) stats() telemetry.CoordinatorStats {
	st := telemetry.CoordinatorStats{
		Experiments: map[string]int{"pending": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0},
		Segments:    map[string]int{"pending": 0, "assigned": 0},
		Workers:     map[string]int{"ready": 0, "draining": 0, "out_of_service": 0, "other_numerics": 0, "problem": 0},
		StoreBytes:  s.size.Load(),
	}
	s.mirror.Read(func(m *mirror.State) { s.count(m, &st) })
	return st
}

func (s *Service) count(m *mirror.State, st *telemetry.CoordinatorStats) {
	for _, e := range m.Experiments {
		if e.Rec == nil {
			continue
		}
		st.Experiments[mirror.StateName(e.State())]++
		for _, r := range e.Active {
			for g := range r.Going() {
				switch g.Rec.State {
				case pb.SegmentState_SEGMENT_STATE_PENDING:
					st.Segments["pending"]++
				case pb.SegmentState_SEGMENT_STATE_ASSIGNED:
					st.Segments["assigned"]++
				}
			}
		}
	}
	now := s.at(m)
	for id, w := range m.Workers {
		st.Busy += w.Busy
		switch {
		case w.Rec.Draining:
			st.Workers["draining"]++
		case now.OutOfService(id):
			st.Workers["out_of_service"]++
		case w.Rec.Problem != "":
			st.Workers["problem"]++
		case w.Rec.NumericsVersion != s.cfg.NumericsVersion:
			st.Workers["other_numerics"]++
			st.Slots += int(w.Rec.Slots)
		default:
			st.Workers["ready"]++
			st.Slots += int(w.Rec.Slots)
		}
	}
}
