package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"neoteny/internal/blob"
	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// fakeStore is a bucket in memory whose calls may be made to fail.
type fakeStore struct {
	mu     sync.Mutex
	data   map[string][]byte
	puts   int
	gets   int
	putErr func(n int) error // of the n-th call, from 1
	getErr func(n int) error
	// checked: reading compares content and reference, as the real one does.
	checked bool
}

func (s *fakeStore) Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.putErr != nil {
		if err := s.putErr(s.puts); err != nil {
			return nil, err
		}
	}
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.data[key] = bytes.Clone(data)
	sum := sha256.Sum256(data)
	return &pb.BlobRef{Key: key, Sha256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}, ctx.Err()
}

func (s *fakeStore) Get(ctx context.Context, ref *pb.BlobRef, _ int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if s.getErr != nil {
		if err := s.getErr(s.gets); err != nil {
			return nil, err
		}
	}
	b, ok := s.data[ref.GetKey()]
	if !ok {
		return nil, blob.ErrNotFound
	}
	if sum := sha256.Sum256(b); s.checked && hex.EncodeToString(sum[:]) != ref.GetSha256() {
		return nil, blob.ErrCorrupt
	}
	return b, ctx.Err()
}

// fakeMetrics keeps rows, and may be away or refuse.
type fakeMetrics struct {
	mu       sync.Mutex
	values   map[int64]float32 // by step
	open     map[string]bool
	finished bool
	away     bool // Flush waits
	full     bool // Append waits
	err      error
	attempts []int64
	firsts   []int64                             // where writers began
	gap      func(run string, first int64) error // of a writer that began there; nil: none
}

func (m *fakeMetrics) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

type fakeWriter struct {
	m     *fakeMetrics
	run   string
	first int64
	next  int64
}

func (m *fakeMetrics) Open(run, _, arm string, attempt, first int64) (metricWriter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open, m.values = map[string]bool{}, map[int64]float32{}
	}
	if m.open[run] {
		return nil, errors.New("fake: open already")
	}
	if arm != "arm" {
		return nil, errors.New("fake: wrong arm")
	}
	m.open[run] = true
	m.attempts, m.firsts = append(m.attempts, attempt), append(m.firsts, first)
	return &fakeWriter{m: m, run: run, first: first, next: first}, nil
}

func (w *fakeWriter) until(ctx context.Context, ok func() bool) error {
	for {
		w.m.mu.Lock()
		done, err := ok(), w.m.err
		w.m.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *fakeWriter) Extend() {}

func (w *fakeWriter) Append(ctx context.Context, r metric.Rows) error {
	if r.First != w.next {
		return fmt.Errorf("fake: rows start at %d, not %d", r.First, w.next)
	}
	w.next += r.N
	if err := w.until(ctx, func() bool { return !w.m.full }); err != nil {
		return err
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.run != runID {
		return nil
	}
	for i, v := range r.Series[0].Values {
		w.m.values[r.First+int64(i)] = v
	}
	return nil
}

func (w *fakeWriter) Flush(ctx context.Context) (*pb.MetricManifest, error) {
	if err := w.until(ctx, func() bool { return !w.m.away }); err != nil {
		return nil, err
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.m.gap != nil {
		if err := w.m.gap(w.run, w.first); err != nil {
			return nil, err
		}
	}
	return &pb.MetricManifest{Steps: w.next - w.first, Values: w.next - w.first}, nil
}

func (w *fakeWriter) Finish(ctx context.Context) (*pb.MetricManifest, error) {
	m, err := w.Flush(ctx)
	w.m.set(func() { w.m.finished = err == nil })
	return m, err
}

func (w *fakeWriter) Close() { w.m.set(func() { delete(w.m.open, w.run) }) }
