package metrics

import (
	"fmt"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// maxTrackSeries bounds the series of a track over its whole life.
const maxTrackSeries = 1 << 14

// ingestResult is what the batches of one track came to.
type ingestResult struct {
	acks       []*pb.MetricAck
	taken      []metric.Rows // durable now
	duplicates int64         // steps that were durable before
	refused    int64         // batches
	bytes      int64         // written to the log
	completed  bool          // the track's last batch became durable
}

// ingest takes a request's batches of one track, in order: drops what is
// durable, refuses what cannot follow, and makes the rest durable with one sync.
// An error says that nothing of it is durable and that it may be sent again; the
// track is then what it was. The track's mutex is held.
func (s *store) ingest(t *track, batches []*pb.MetricBatch) (*ingestResult, error) {
	r := &ingestResult{}
	in := &intake{
		t: t, res: r, durable: t.durable, origin: t.origin, fences: t.fences,
		complete: t.complete, fresh: t.size == 0 && !t.sealed,
	}
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	in.records = (*buffer)[:0]
	defer func() {
		*buffer = in.records
		s.buffers.Put(buffer)
	}()
	for _, b := range batches {
		if err := in.take(b); err != nil {
			return nil, err
		}
	}
	if len(in.records) > 0 {
		if err := s.append(t, in.records); err != nil {
			return nil, err
		}
		t.durable, t.origin, t.complete = in.durable, in.origin, in.complete
		for _, k := range in.series {
			t.series[k] = struct{}{}
		}
	}
	t.fences = in.fences
	r.bytes = int64(len(in.records))
	if in.arm != "" {
		t.arm = in.arm
	}
	if in.accepted || len(r.acks) == 0 {
		r.acks = append(r.acks, &pb.MetricAck{})
	}
	for _, a := range r.acks {
		a.Run, a.Track, a.DurableStep, a.Complete = t.key.Run, t.key.Name, t.durable, t.complete
		if in.fresh && len(in.records) == 0 && t.key.Name != metric.MainTrack && !a.Gap && a.Error == "" {
			// A fork begins wherever it was forked, so any step that is asked for is right.
			a.DurableStep = in.asked
		}
	}
	return r, nil
}

// intake is the state of a track while a request's batches are looked at, before
// any of it is durable.
type intake struct {
	t               *track
	res             *ingestResult
	durable, origin int64
	asked           int64
	fences          fences
	complete, fresh bool
	accepted        bool
	gap             bool
	arm             string
	series          []metric.Column
	staged          map[metric.Column]struct{}
	records         []byte
}

func (in *intake) refuse(a *pb.MetricAck) {
	in.res.refused++
	if a.Gap {
		if in.gap {
			return // one answer says it
		}
		in.gap = true
	}
	in.res.acks = append(in.res.acks, a)
}

// take decides about one batch. Its error is a limit of the log's format that
// the checks should have caught.
func (in *intake) take(b *pb.MetricBatch) error {
	rows, err := metric.FromWire(b)
	if err == nil {
		err = metric.CheckSender(b.GetArm(), b.GetAttempt())
	}
	if err != nil {
		in.refuse(&pb.MetricAck{Error: err.Error()})
		return nil
	}
	if in.fences.stale(b.Attempt, b.FirstStep) {
		in.refuse(&pb.MetricAck{Fenced: true})
		return nil
	}
	end := rows.End()
	if b.NSteps == 0 && !b.Last {
		in.asked, in.accepted = b.FirstStep, true
		return nil
	}
	if in.fresh && len(in.records) == 0 && in.t.key.Name != metric.MainTrack {
		in.origin, in.durable = b.FirstStep, b.FirstStep
	}
	switch {
	case b.FirstStep > in.durable && !in.complete:
		in.refuse(&pb.MetricAck{Gap: true, Error: fmt.Sprintf(
			"first_step %d is beyond durable_step %d: the steps between are missing", b.FirstStep, in.durable)})
		return nil
	case end > in.durable && in.complete:
		in.refuse(&pb.MetricAck{Error: fmt.Sprintf(
			"the track is complete at step %d, nothing follows", in.durable)})
		return nil
	case b.Last && end < in.durable:
		in.refuse(&pb.MetricAck{Error: fmt.Sprintf(
			"last batch ends at step %d, but steps up to %d are durable", end, in.durable)})
		return nil
	}
	in.res.duplicates += min(end, in.durable) - b.FirstStep
	if end < in.durable || end == in.durable && (!b.Last || in.complete) {
		in.fences = in.fences.with(b.Attempt, end)
		in.accepted = true
		return nil
	}
	return in.add(b, rows)
}

// add stages what is not durable yet of a batch and its rows.
func (in *intake) add(b *pb.MetricBatch, rows metric.Rows) error {
	if rows.First < in.durable {
		rows = rows.From(in.durable)
		rest := rows.Wire()
		rest.Attempt, rest.Arm, rest.Last = b.Attempt, b.Arm, b.Last
		b = rest
	}
	var fresh []metric.Column
	for _, s := range rows.Series {
		_, known := in.t.series[s.Column]
		if _, staged := in.staged[s.Column]; !known && !staged {
			fresh = append(fresh, s.Column)
		}
	}
	if len(in.t.series)+len(in.series)+len(fresh) > maxTrackSeries {
		in.refuse(&pb.MetricAck{Error: fmt.Sprintf("the track has more than %d series", maxTrackSeries)})
		return nil
	}
	// The log names the track as the service does; the message is ours.
	b.Run, b.Track = in.t.key.Run, in.t.key.Name
	records, err := appendRecord(in.records, b)
	if err != nil {
		return err
	}
	if in.staged == nil && len(fresh) > 0 {
		in.staged = map[metric.Column]struct{}{}
	}
	for _, c := range fresh {
		in.staged[c] = struct{}{}
	}
	in.records, in.series = records, append(in.series, fresh...)
	in.fences = in.fences.with(b.Attempt, rows.End())
	in.durable, in.complete, in.accepted = rows.End(), b.Last, true
	in.res.completed = in.res.completed || b.Last
	if b.Arm != "" {
		in.arm = b.Arm
	}
	in.res.taken = append(in.res.taken, rows)
	return nil
}
