package metrics

import (
	"errors"
	"fmt"
	"unicode/utf8"

	pb "neoteny/proto/neoteny/v1"
)

// Limits on a batch. The first two are the API's too; they are held here again
// because the log and the Parquet file rely on them.
const (
	maxBatchSteps   = 1 << 24
	maxBatchColumns = 4096
	maxNameBytes    = 64
	maxArmBytes     = 128
	// maxTrackSeries bounds the series of a track over its whole life.
	maxTrackSeries = 1 << 14
)

// checkBatch validates what a batch says by itself.
func checkBatch(b *pb.MetricBatch) error {
	switch {
	case b.Attempt < 0:
		return fmt.Errorf("attempt %d is negative", b.Attempt)
	case b.FirstStep < 0 || b.FirstStep > maxStep:
		return fmt.Errorf("first_step %d is not in [0, %d]", b.FirstStep, int64(maxStep))
	case b.NSteps < 0 || b.NSteps > maxBatchSteps:
		return fmt.Errorf("n_steps %d is not in [0, %d]", b.NSteps, maxBatchSteps)
	case len(b.Columns) > maxBatchColumns:
		return fmt.Errorf("%d columns are over the limit of %d", len(b.Columns), maxBatchColumns)
	case len(b.Arm) > maxArmBytes || !utf8.ValidString(b.Arm):
		return fmt.Errorf("arm is not UTF-8 text of at most %d bytes", maxArmBytes)
	}
	seen := make(map[seriesKey]struct{}, len(b.Columns))
	for i, c := range b.Columns {
		k := seriesKey{c.GetMetric(), c.GetLayer()}
		if _, twice := seen[k]; twice {
			return fmt.Errorf("columns[%d] repeats metric %q of layer %q", i, k.metric, k.layer)
		}
		seen[k] = struct{}{}
		if err := checkColumn(b.NSteps, c); err != nil {
			return fmt.Errorf("columns[%d] (%q): %w", i, k.metric, err)
		}
	}
	return nil
}

func checkColumn(steps int64, c *pb.MetricColumn) error {
	if !isMetricName(c.GetMetric()) {
		return errors.New("metric is not a name like online_accuracy")
	}
	if len(c.Layer) > maxNameBytes || !utf8.ValidString(c.Layer) {
		return fmt.Errorf("layer is not UTF-8 text of at most %d bytes", maxNameBytes)
	}
	if len(c.Offsets) == 0 {
		if n := int64(len(c.Values)); n != 0 && n != steps {
			return fmt.Errorf("%d values without offsets for %d steps", n, steps)
		}
		return nil
	}
	if len(c.Offsets) != len(c.Values) {
		return fmt.Errorf("%d values for %d offsets", len(c.Values), len(c.Offsets))
	}
	last := int64(-1)
	for i, o := range c.Offsets {
		if int64(o) <= last || int64(o) >= steps {
			return fmt.Errorf("offsets[%d] = %d is not ascending below n_steps %d", i, o, steps)
		}
		last = int64(o)
	}
	return nil
}

// isMetricName reports whether s matches ^[a-z][a-z0-9_]{0,63}$.
func isMetricName(s string) bool {
	if len(s) == 0 || len(s) > maxNameBytes || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// trim returns the part of a batch from step on; step lies inside the batch.
func trim(b *pb.MetricBatch, step int64) *pb.MetricBatch {
	cut := step - b.FirstStep
	if cut <= 0 {
		return b
	}
	t := &pb.MetricBatch{
		Run: b.Run, Track: b.Track, Attempt: b.Attempt, FirstStep: step, NSteps: b.NSteps - cut,
		Arm: b.Arm, Last: b.Last,
	}
	for _, c := range b.Columns {
		n := &pb.MetricColumn{Metric: c.Metric, Layer: c.Layer}
		switch {
		case len(c.Values) == 0:
		case len(c.Offsets) == 0:
			n.Values = c.Values[cut:]
		default:
			from := 0
			for from < len(c.Offsets) && int64(c.Offsets[from]) < cut {
				from++
			}
			n.Values = c.Values[from:]
			for _, o := range c.Offsets[from:] {
				n.Offsets = append(n.Offsets, o-uint32(cut))
			}
		}
		if len(n.Values) > 0 {
			t.Columns = append(t.Columns, n)
		}
	}
	return t
}

// ingestResult is what the batches of one track came to.
type ingestResult struct {
	acks       []*pb.MetricAck
	taken      []*pb.MetricBatch // durable now, trimmed
	duplicates int64             // steps that were durable before
	refused    int64             // batches
	bytes      int64             // written to the log
	completed  bool              // the track's last batch became durable
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
		a.Run, a.Track, a.DurableStep, a.Complete = t.key.run, t.key.track, t.durable, t.complete
		if in.fresh && len(in.records) == 0 && t.key.track != mainTrack && !a.Gap && a.Error == "" {
			// A fork begins wherever it was forked: whoever asks may start.
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
	series          []seriesKey
	staged          map[seriesKey]struct{}
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
// checkBatch should have caught.
func (in *intake) take(b *pb.MetricBatch) error {
	if err := checkBatch(b); err != nil {
		in.refuse(&pb.MetricAck{Error: err.Error()})
		return nil
	}
	if in.fences.stale(b.Attempt, b.FirstStep) {
		in.refuse(&pb.MetricAck{Fenced: true})
		return nil
	}
	end := b.FirstStep + b.NSteps
	if b.NSteps == 0 && !b.Last {
		in.asked, in.accepted = b.FirstStep, true
		return nil
	}
	if in.fresh && len(in.records) == 0 && in.t.key.track != mainTrack {
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
	return in.add(trim(b, in.durable), end)
}

func (in *intake) add(b *pb.MetricBatch, end int64) error {
	var fresh []seriesKey
	for _, c := range b.Columns {
		k := seriesKey{c.Metric, c.Layer}
		_, known := in.t.series[k]
		if _, staged := in.staged[k]; !known && !staged {
			fresh = append(fresh, k)
		}
	}
	if len(in.t.series)+len(in.series)+len(fresh) > maxTrackSeries {
		in.refuse(&pb.MetricAck{Error: fmt.Sprintf("the track has more than %d series", maxTrackSeries)})
		return nil
	}
	// The log names the track as the service does; the message is ours.
	b.Run, b.Track = in.t.key.run, in.t.key.track
	records, err := appendRecord(in.records, b)
	if err != nil {
		return err
	}
	if in.staged == nil {
		in.staged = map[seriesKey]struct{}{}
	}
	for _, k := range fresh {
		in.staged[k] = struct{}{}
	}
	in.records, in.series = records, append(in.series, fresh...)
	in.fences = in.fences.with(b.Attempt, end)
	in.durable, in.complete, in.accepted = end, b.Last, true
	in.res.completed = in.res.completed || b.Last
	if b.Arm != "" {
		in.arm = b.Arm
	}
	in.res.taken = append(in.res.taken, b)
	return nil
}

// countValues returns the values in a batch.
func countValues(b *pb.MetricBatch) int64 {
	n := int64(0)
	for _, c := range b.Columns {
		n += int64(len(c.Values))
	}
	return n
}
