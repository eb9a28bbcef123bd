package metrics

import (
	"context"
	"errors"
	"io/fs"
	"math"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

const (
	// pointsPerPiece keeps a response below a megabyte: a point is at most 9
	// bytes of step and three values.
	pointsPerPiece = 1 << 15
	maxMaxPoints   = 100000
)

// QuerySeries implements pb.MetricsServiceServer. Series come in the order of
// metric and layer, each in pieces in step order. With max_points, a series of
// no more values than that in the range comes as it is, with minima and maxima
// equal to the values; of a larger one come the buckets that hold a value. A
// mean over a NaN is NaN, minima and maxima pass it over. NOT_FOUND says that
// nothing of the track is stored, DATA_LOSS that its file is damaged and was put aside.
func (s *Service) QuerySeries(req *pb.QuerySeriesRequest, stream grpc.ServerStreamingServer[pb.QuerySeriesResponse]) error {
	done, ok := s.begin()
	if !ok {
		return errStopping
	}
	defer done()
	key, err := metric.NewTrack(req.GetRun(), req.GetTrack())
	if err != nil {
		return invalidField("run", err.Error())
	}
	switch {
	case req.FirstStep < 0:
		return invalidField("first_step", "must not be negative")
	case req.EndStep < 0 || req.EndStep != 0 && req.EndStep < req.FirstStep:
		return invalidField("end_step", "must be 0 or at least first_step")
	case req.MaxPoints < 0 || req.MaxPoints > maxMaxPoints:
		return invalidField("max_points", "must be in [0, 100000]")
	}
	src, err := s.openSource(key)
	if errors.Is(err, errDamaged) {
		return status.Errorf(codes.DataLoss, "metrics of %s: %v", key, err)
	}
	if err != nil {
		s.log.Error("query metrics", "run", key.Run, "track", key.Name, "error", err)
		return status.Errorf(codes.Internal, "metrics of %s: %v", key, err)
	}
	if src == nil {
		return status.Errorf(codes.NotFound, "no metrics of run %s are stored", key)
	}
	defer func() {
		if err := src.close(); err != nil {
			s.log.Warn("close metrics", "run", key.Run, "error", err)
		}
	}()
	first, end := src.span()
	sel := selection{metrics: req.Metrics, first: max(req.FirstStep, first), end: end}
	if req.EndStep != 0 {
		sel.end = min(sel.end, req.EndStep)
	}
	if sel.first >= sel.end {
		return nil
	}
	out := &pieces{send: stream.Send, sel: sel, maxPoints: int(req.MaxPoints)}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	_, sealed := src.(*parquetSource)
	if sealed && len(req.Metrics) == 0 && req.MaxPoints == 0 { // for keeps, not for a look
		err = checkSum(s.store.path(key) + parquetExt)
	}
	if err == nil {
		err = src.walk(ctx, sel, out.add)
	}
	if err == nil {
		err = out.finish()
	}
	switch {
	case err == nil:
		return nil
	case s.stop.Err() != nil:
		return errStopping
	case stream.Context().Err() != nil:
		return status.FromContextError(stream.Context().Err()).Err()
	}
	if _, isStatus := status.FromError(err); isStatus {
		return err
	}
	if sealed && damaged(err) {
		return status.Errorf(codes.DataLoss, "metrics of %s: %v", key, s.store.putAside(s.store.path(key)+parquetExt, err))
	}
	s.log.Error("query metrics", "run", key.Run, "track", key.Name, "error", err)
	return status.Errorf(codes.Internal, "metrics of %s: %v", key, err)
}

// openSource opens what is stored of a track; nothing where nothing is.
func (s *Service) openSource(key metric.Track) (source, error) {
	for {
		t, err := s.store.lookup(key)
		if t == nil || err != nil {
			return nil, err
		}
		src, again, err := s.openTrack(t)
		if !again {
			return src, err
		}
	}
}

// openTrack says again where the track was dropped meanwhile.
func (s *Service) openTrack(t *track) (src source, again bool, err error) {
	t.mu.Lock()
	size, sealed, gone := t.size, t.sealed, t.gone
	t.mu.Unlock()
	switch {
	case gone:
		return nil, true, nil
	case sealed:
		p, err := openParquet(t.path + parquetExt)
		if err != nil {
			return nil, false, err
		}
		return p, false, nil
	case size == 0:
		return nil, false, nil
	}
	l, err := openLogSource(t.path+logExt, size)
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.gone && errors.Is(err, fs.ErrNotExist) {
			s.store.lost(t)
		}
		return nil, t.gone, err
	}
	return l, false, nil
}

func invalidField(field, problem string) error {
	st := status.New(codes.InvalidArgument, field+": "+problem)
	detailed, err := st.WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: problem}},
	})
	if err != nil {
		return errors.Join(st.Err(), err)
	}
	return detailed.Err()
}

// pieces cuts series into responses, downsampling them where asked.
type pieces struct {
	send      func(*pb.QuerySeriesResponse) error
	sel       selection
	maxPoints int // 0: every value

	column metric.Column
	piece  *pb.QuerySeriesResponse
	// raw holds the series' values until there are more than maxPoints.
	rawSteps  []int64
	rawValues []float32
	buckets   bool
	bucket    bucket
}

// bucket gathers the values of the steps [first, first+width).
type bucket struct {
	first    int64
	n        int64
	sum      float64
	min, max float32
}

func (p *pieces) width() int64 {
	span, n := p.sel.end-p.sel.first, int64(p.maxPoints)
	return (span + n - 1) / n
}

// add implements emitFunc.
func (p *pieces) add(read metric.Points) error {
	if p.piece == nil || read.Column != p.column {
		if err := p.finish(); err != nil {
			return err
		}
		p.column, p.piece = read.Column, &pb.QuerySeriesResponse{Metric: read.Metric, Layer: read.Layer}
	}
	for i, v := range read.Values {
		if err := p.value(read.Steps[i], v); err != nil {
			return err
		}
	}
	return nil
}

func (p *pieces) value(step int64, v float32) error {
	switch {
	case p.maxPoints == 0:
		return p.point(step, v, v, v)
	case p.buckets:
		return p.inBucket(step, v)
	case len(p.rawSteps) < p.maxPoints:
		p.rawSteps, p.rawValues = append(p.rawSteps, step), append(p.rawValues, v)
		return nil
	}
	p.buckets = true
	for i, s := range p.rawSteps {
		if err := p.inBucket(s, p.rawValues[i]); err != nil {
			return err
		}
	}
	p.rawSteps, p.rawValues = p.rawSteps[:0], p.rawValues[:0]
	return p.inBucket(step, v)
}

func (p *pieces) inBucket(step int64, v float32) error {
	w := p.width()
	first := p.sel.first + (step-p.sel.first)/w*w
	if p.bucket.n > 0 && first != p.bucket.first {
		if err := p.endBucket(); err != nil {
			return err
		}
	}
	b := &p.bucket
	if b.n == 0 {
		nan := float32(math.NaN())
		*b = bucket{first: first, min: nan, max: nan}
	}
	b.n++
	b.sum += float64(v)
	if !(b.min <= v) && v == v {
		b.min = v
	}
	if !(b.max >= v) && v == v {
		b.max = v
	}
	return nil
}

func (p *pieces) endBucket() error {
	b := p.bucket
	p.bucket.n = 0
	if b.n == 0 {
		return nil
	}
	return p.point(b.first, float32(b.sum/float64(b.n)), b.min, b.max)
}

func (p *pieces) point(step int64, v, lo, hi float32) error {
	r := p.piece
	r.Steps, r.Values = append(r.Steps, step), append(r.Values, v)
	if p.maxPoints > 0 {
		r.Minima, r.Maxima = append(r.Minima, lo), append(r.Maxima, hi)
	}
	if len(r.Steps) < pointsPerPiece {
		return nil
	}
	return p.flush()
}

func (p *pieces) flush() error {
	r := p.piece
	if len(r.Steps) == 0 {
		return nil
	}
	p.piece = &pb.QuerySeriesResponse{Metric: r.Metric, Layer: r.Layer}
	return p.send(r)
}

// finish sends what is left of the series in work.
func (p *pieces) finish() error {
	if p.piece == nil {
		return nil
	}
	for i, s := range p.rawSteps {
		if err := p.point(s, p.rawValues[i], p.rawValues[i], p.rawValues[i]); err != nil {
			return err
		}
	}
	p.rawSteps, p.rawValues = p.rawSteps[:0], p.rawValues[:0]
	if err := p.endBucket(); err != nil {
		return err
	}
	p.buckets = false
	return p.flush()
}
