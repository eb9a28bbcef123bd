// Package metricsclient streams a worker's per-step metrics to the metrics
// service. Training never waits for the network: rows go into a bounded queue in
// memory, beyond that to disk, and one goroutine sends them, resending from the
// last acknowledgement after every interruption. Only when the disk quota is
// full as well does appending wait, visibly. Nothing is dropped or thinned.
package metricsclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"neoteny/internal/metric"
	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
)

// ErrFenced says that a higher attempt has taken over: the work is to be dropped.
var ErrFenced = errors.New("metrics attempt is fenced")

// ErrClosed says that the client or the writer was closed.
var ErrClosed = errors.New("metrics client is closed")

// GapError says that steps the service once had, or never got, lie before what
// this writer can send: they were lost there. Sending again does not bring them back.
type GapError struct {
	Run, Track  string
	Durable     int64 // what the service has
	FirstUnsent int64 // where this writer could go on
}

func (e *GapError) Error() string {
	return fmt.Sprintf("metrics of %s (track %s) are missing at the metrics service in steps [%d, %d): was its volume lost?",
		e.Run, e.Track, e.Durable, e.FirstUnsent)
}

// RefusedError says why the service will not take a batch, ever.
type RefusedError struct{ Run, Track, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("metrics service refuses metrics of %s (track %s): %s", e.Run, e.Track, e.Reason)
}

// Config sizes the client; zero fields take the defaults.
type Config struct {
	// MemoryBytes bounds the batches held in memory until they are
	// acknowledged, besides one of up to 1 MiB in the making per writer.
	// Default 64 MiB.
	MemoryBytes int64
	// SpillDir takes what memory has no room for. Empty: nothing is spilled.
	SpillDir string
	// SpillBytes is the quota of SpillDir. Default 1 GiB.
	SpillBytes int64
	// FlushRows and FlushEvery say when a batch goes off: at so many rows, or so
	// long after its first. Defaults 4096 and 200 ms.
	FlushRows  int
	FlushEvery time.Duration
	// AckTimeout is how long the stream may owe acknowledgements without giving
	// any before it is taken for dead. Default 1 min.
	AckTimeout time.Duration
	// BackoffBase and BackoffMax bound the pause before the stream is opened
	// again: a random part of base·2ⁿ, at most max. Defaults 100 ms and 5 s.
	BackoffBase, BackoffMax time.Duration
	// Logger gets interruptions and pauses.
	Logger *slog.Logger
	// Registerer gets the client's metrics; nil keeps them private. Clients of
	// one process need registerers that distinguish them by a label.
	Registerer telemetry.Registerer
}

func (c Config) withDefaults() Config {
	set := func(v *int64, def int64) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&c.MemoryBytes, 64<<20)
	set(&c.SpillBytes, 1<<30)
	if c.SpillDir == "" {
		c.SpillBytes = 0
	}
	if c.FlushRows <= 0 {
		c.FlushRows = 4096
	}
	duration := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	duration(&c.FlushEvery, 200*time.Millisecond)
	duration(&c.AckTimeout, time.Minute)
	duration(&c.BackoffBase, 100*time.Millisecond)
	duration(&c.BackoffMax, 5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Client owns one stream to the metrics service and the queues of its writers.
type Client struct {
	api  pb.MetricsServiceClient
	cfg  Config
	log  *slog.Logger
	hide func() // takes the metrics out

	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	wake   chan struct{} // something to send or to seal

	mu        sync.Mutex
	closed    bool
	writers   []*Writer // open ones, in the order of the next turn
	byTrack   map[metric.Track]*Writer
	memory    int64
	spill     *spill
	paused    int // Appends that wait
	pauseTold time.Time
	change    chan struct{} // closed and replaced when a waiter may go on
	// session counts streams. Answers for a key that was closed with some owed
	// may still come in the session noted in owed; opened again, it needs a new
	// one.
	session    int64
	owed       map[metric.Track]int64
	newSession bool

	requests, reconnects, spilled int64
}

// New starts a client. Close ends it.
func New(api pb.MetricsServiceClient, cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	sp, err := newSpill(cfg.SpillDir, cfg.SpillBytes)
	if err != nil {
		return nil, err
	}
	c := &Client{
		api: api, cfg: cfg, log: cfg.Logger, spill: sp,
		session: 1, ended: make(chan struct{}), wake: make(chan struct{}, 1), change: make(chan struct{}),
		byTrack: map[metric.Track]*Writer{}, owed: map[metric.Track]int64{},
	}
	c.hide = func() {}
	if cfg.Registerer != nil {
		if c.hide, err = telemetry.RegisterMetricsClient(cfg.Registerer, c.stats); err != nil {
			return nil, fmt.Errorf("register metrics client: %w", err)
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

// Close stops sending and gives up what is not acknowledged; writers return
// ErrClosed from then on. Flush the writers first to keep their rows.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.changed()
	c.mu.Unlock()
	c.cancel()
	<-c.ended
	c.hide()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.writers {
		w.abandon(ErrClosed)
	}
	c.writers, c.byTrack = nil, map[metric.Track]*Writer{}
	c.spill.close()
	return nil
}

// Open starts writing a track of a run (empty: the main one) at firstStep, under
// the attempt of its segment. The service may be ahead of firstStep, as when a
// segment is done again: rows that it has are dropped. One writer per track is
// open at a time.
func (c *Client) Open(run, track, arm string, attempt, firstStep int64) (*Writer, error) {
	t, err := metric.NewTrack(run, track)
	if err == nil {
		err = metric.CheckSender(arm, attempt)
	}
	if err == nil && (firstStep < 0 || firstStep > metric.MaxStep) {
		err = fmt.Errorf("first step %d is not in [0, %d]", firstStep, int64(metric.MaxStep))
	}
	if err != nil { // at the service it would end the stream of all
		return nil, fmt.Errorf("open metrics of %q: %w", run, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if c.byTrack[t] != nil {
		return nil, fmt.Errorf("open metrics of %s (track %s): a writer is open already", t.Run, t.Name)
	}
	w := &Writer{
		c: c, track: t, arm: arm, attempt: attempt,
		first: firstStep, next: firstStep, sealed: firstStep, acked: firstStep, durable: firstStep, ask: true,
	}
	c.byTrack[t] = w
	c.writers = append(c.writers, w)
	if c.owed[t] == c.session {
		c.newSession = true
	}
	c.poke()
	return w, nil
}

// poke wakes the sender. It never blocks.
func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// changed lets everything that waits look again; the mutex is held.
func (c *Client) changed() {
	close(c.change)
	c.change = make(chan struct{})
}
