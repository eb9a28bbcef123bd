// Package progress shows how far an experiment is: a bar that redraws itself
// on a terminal, plain lines every few seconds in a pipe. The caller
// never waits for the terminal: the latest state is kept and drawn from a
// goroutine of the reporter's own.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"neoteny/cmd/neoteny/internal/cli/render"
)

// State is what is shown of an experiment.
type State struct {
	ID    string
	Phase string // pending, running, done, …
	// Message says why nothing moves, or why it ended.
	Message string
	Ended   bool
	// Elapsed is the experiment's own time, once it has ended; 0 stands for the time
	// since the reporter started.
	Elapsed time.Duration

	Runs, RunsDone, RunsDiverged, RunsFailed int64
	Tasks, TasksDone                         int64
	Steps, StepsDone                         int64 // committed ones
}

// Config says where and how to show it.
type Config struct {
	// Out gets the bar or the lines: standard error.
	Out io.Writer
	// Terminal draws a bar.
	Terminal bool
	// Every is the time between plain lines; 0 means 5 seconds.
	Every time.Duration
	// Live returns how many steps were made since the reporter started,
	// committed or not; nil where only commits are known.
	Live func() int64
}

// Reporter shows the states it is given until it is closed.
type Reporter struct {
	cfg     Config
	started time.Time
	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	mu    sync.Mutex
	state State
	known bool  // a state has come
	base  int64 // steps that were committed before the reporter started

	outMu sync.Mutex
	bars  *mpb.Progress // while a bar is on the screen

	lineMu sync.Mutex // one line at a time goes to cfg.Out
}

// New starts a reporter.
func New(cfg Config) *Reporter {
	if cfg.Every <= 0 {
		cfg.Every = 5 * time.Second
	}
	r := &Reporter{cfg: cfg, started: time.Now(), wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(r.stopped)
		if cfg.Terminal {
			r.drawBar()
		} else {
			r.writeLines()
		}
	}()
	return r
}

// Update replaces the state. It never blocks.
func (r *Reporter) Update(s State) {
	r.mu.Lock()
	if !r.known {
		r.known, r.base = true, s.StepsDone
	}
	r.state = s
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// closeTimeout bounds Close: a reader that has stopped reading must not keep
// the program.
const closeTimeout = 2 * time.Second

// Close shows the last state and ends the reporter.
func (r *Reporter) Close() {
	r.once.Do(func() { close(r.stop) })
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-r.stopped:
	case <-t.C:
	}
}

// Write writes other lines, such as logs, to where the progress goes, above
// the bar if there is one.
func (r *Reporter) Write(p []byte) (int, error) {
	r.outMu.Lock()
	bars := r.bars
	r.outMu.Unlock()
	if bars != nil {
		if n, err := bars.Write(p); err == nil {
			return n, nil
		}
	}
	return r.writeLine(p)
}

// writeLine writes whole lines past the bar.
func (r *Reporter) writeLine(p []byte) (int, error) {
	r.lineMu.Lock()
	defer r.lineMu.Unlock()
	return r.cfg.Out.Write(p)
}

func (r *Reporter) meter() meter {
	if r.cfg.Live == nil {
		return meter{window: commitWindow}
	}
	return meter{window: liveWindow}
}

// view is a state with what follows from it.
type view struct {
	State
	known bool
	steps int64 // committed or not
}

func (r *Reporter) view() view {
	r.mu.Lock()
	v := view{State: r.state, known: r.known, steps: r.state.StepsDone}
	base := r.base
	r.mu.Unlock()
	if v.known && !v.Ended && r.cfg.Live != nil {
		// Steps that were lost with a worker are made twice: never show more
		// than there are.
		v.steps = max(v.StepsDone, min(base+r.cfg.Live(), v.Steps))
	}
	return v
}

// figures are the numbers of a view at a rate of steps per second.
func (v view) figures(stepRate float64) (tasksPerSecond, stepsPerSecond, left string) {
	taskRate := 0.0
	if v.Steps > 0 {
		taskRate = stepRate * float64(v.Tasks) / float64(v.Steps)
	}
	left = "?"
	if stepRate > 0 {
		if d := float64(v.Steps-v.steps) / stepRate; d < 1e8 {
			left = render.Duration(time.Duration(d * float64(time.Second)).Round(time.Second))
		}
	}
	return render.Rate(taskRate), render.Rate(stepRate), left
}

func (v view) percent() int64 {
	if v.Steps <= 0 {
		return 0
	}
	return v.steps * 100 / v.Steps
}

// counts returns what is done; a bar of half the steps without a committed task
// is right, since tasks count when they are committed.
func (v view) counts() string {
	s := fmt.Sprintf("%s/%s tasks, %s/%s runs", render.Count(v.TasksDone), render.Count(v.Tasks), render.Count(v.RunsDone), render.Count(v.Runs))
	if v.RunsDiverged > 0 {
		s += fmt.Sprintf(", %s diverged", render.Count(v.RunsDiverged))
	}
	if v.RunsFailed > 0 {
		s += fmt.Sprintf(", %s failed", render.Count(v.RunsFailed))
	}
	return s
}

func (v view) line(rate float64, elapsed time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %d %%, %s", v.ID, v.Phase, v.percent(), v.counts())
	if v.Ended {
		if v.Elapsed > 0 {
			elapsed = v.Elapsed
		}
		fmt.Fprintf(&b, ", %s steps, %s", render.Count(v.StepsDone), render.Duration(elapsed))
	} else if rate > 0 {
		t, s, left := v.figures(rate)
		fmt.Fprintf(&b, ", %s tasks/s, %s steps/s, %s left", t, s, left)
	}
	if v.Message != "" {
		fmt.Fprintf(&b, " (%s)", strings.Join(strings.Fields(v.Message), " "))
	}
	return b.String()
}

// quietFor is after how long an unchanged line is said again.
const quietFor = time.Minute

func (r *Reporter) writeLines() {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	m := r.meter()
	var shown struct {
		phase, message, line string
		ended                int64 // early
		at                   time.Time
	}
	say := func(periodic bool) {
		v := r.view()
		if !v.known {
			return
		}
		now := time.Now()
		if v.Phase != shown.phase {
			m.samples = nil // the time of waiting is not part of the rate
		}
		if periodic || m.samples == nil {
			m.observe(now, v.steps)
		}
		changed := v.Phase != shown.phase || v.Message != shown.message || v.RunsDiverged+v.RunsFailed != shown.ended
		line := v.line(m.rate(), now.Sub(r.started))
		if !changed && (!periodic || line == shown.line && now.Sub(shown.at) < quietFor) {
			return
		}
		shown.phase, shown.message, shown.ended, shown.line, shown.at = v.Phase, v.Message, v.RunsDiverged+v.RunsFailed, line, now
		_, _ = r.writeLine([]byte(line + "\n")) // a progress that cannot be shown stops nothing
	}
	for {
		select {
		case <-r.wake:
			say(false)
		case <-tick.C:
			say(true)
		case <-r.stop:
			say(false)
			return
		}
	}
}

// refresh is how often the bar is drawn.
const refresh = 200 * time.Millisecond

func (r *Reporter) drawBar() {
	bars := mpb.New(mpb.WithOutput(r.cfg.Out), mpb.WithRefreshRate(refresh), mpb.WithAutoRefresh())
	r.outMu.Lock()
	r.bars = bars
	r.outMu.Unlock()

	m := r.meter()
	var mu sync.Mutex // of text, which mpb reads from a goroutine of its own
	var head, tail string
	text := func(s *string) decor.DecorFunc {
		return func(decor.Statistics) string {
			mu.Lock()
			defer mu.Unlock()
			return *s
		}
	}
	// A total of 0 leaves it to Abort to end the bar: reaching the last step is
	// not yet the end of the experiment.
	bar := bars.New(0, mpb.BarStyle().Rbound("]").Lbound("["),
		mpb.PrependDecorators(decor.Any(text(&head))), mpb.AppendDecorators(decor.Any(text(&tail))))

	tick := time.NewTicker(refresh)
	defer tick.Stop()
	draw := func() {
		v := r.view()
		if !v.known {
			return
		}
		m.observe(time.Now(), v.steps)
		t, s, left := v.figures(m.rate())
		mu.Lock()
		head = v.ID
		tail = fmt.Sprintf("%d %% %s, %s tasks/s, %s steps/s, %s left", v.percent(), v.counts(), t, s, left)
		if m.rate() == 0 && v.Message != "" {
			tail = fmt.Sprintf("%s: %s", v.Phase, strings.Join(strings.Fields(v.Message), " "))
		}
		mu.Unlock()
		bar.SetTotal(max(v.Steps, 1), false)
		bar.SetCurrent(v.steps)
	}
	for {
		select {
		case <-r.wake:
		case <-tick.C:
			draw()
		case <-r.stop:
			r.outMu.Lock()
			r.bars = nil
			r.outMu.Unlock()
			bar.Abort(true)
			bars.Wait()
			if v := r.view(); v.known {
				_, _ = r.writeLine([]byte(v.line(0, time.Since(r.started)) + "\n"))
			}
			return
		}
	}
}
