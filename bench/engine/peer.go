package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed peers/peer.py
var peerScript []byte

//go:embed peers/prototype.c
var prototypeSource []byte

//go:embed peers/blas.c
var blasSource []byte

// absentError says that a contestant cannot run here, and what would help.
type absentError struct{ problem string }

func (e *absentError) Error() string { return e.problem }

// A contestant is a process of its own that does one job.
type contestant struct {
	name   string
	pinned bool
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errs   *tail
	plain  bool // speaks numbers (the C programs) instead of JSON
	about  answer
	loss   float64
	runs   []answer
}

// oneThread keeps libraries from starting threads; a process takes it on top
// of the environment of this one.
var oneThread = []string{
	"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "GOMAXPROCS=1", "PYTHONUNBUFFERED=1",
}

func start(ctx context.Context, name string, plain bool, path string, args ...string) (*contestant, error) {
	c := &contestant{name: name, plain: plain, errs: &tail{}}
	c.cmd = exec.CommandContext(ctx, path, args...)
	// What a host sets to tune or restrict OpenBLAS would be unfair to it.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "OPENBLAS_CORETYPE=") || strings.HasPrefix(v, "OPENBLAS_L2_SIZE=")
	})
	c.cmd.Env = append(env, oneThread...)
	c.cmd.Stderr = c.errs
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if c.pinned, err = startPinned(c.cmd); err != nil {
		return nil, err
	}
	return c, nil
}

// tail keeps the end of what a process says on stderr.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b); n > 4096 {
		t.b = append(t.b[:0], t.b[n-2048:]...)
	}
	return len(p), nil
}

// failed explains an error of talking to the process by what it said.
func (c *contestant) failed(err error) error {
	_ = c.in.Close()
	_ = c.cmd.Wait() // stderr is complete then
	if s := strings.TrimSpace(string(c.errs.b)); s != "" {
		return fmt.Errorf("%s: %w: %s", c.name, err, s)
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

func (c *contestant) ask(r request) (answer, error) {
	var a answer
	if err := json.NewEncoder(c.in).Encode(r); err != nil {
		return a, c.failed(err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return a, c.failed(err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("%s: %w: %.200q", c.name, err, line)
	}
	switch {
	case a.NotBuilt:
		return a, fmt.Errorf("%w%s", errNotBuilt, strings.TrimPrefix(a.Error, errNotBuilt.Error()))
	case a.Error != "":
		return a, errors.New(a.Error)
	}
	return a, nil
}

// run measures once and keeps the answer.
func (c *contestant) run(seconds float64) error {
	var a answer
	var err error
	if c.plain {
		if _, err = fmt.Fprintf(c.in, "%g\n", seconds); err != nil {
			return c.failed(err)
		}
		var line string
		if line, err = c.out.ReadString('\n'); err != nil {
			return c.failed(err)
		}
		if _, err := fmt.Sscan(line, &a.Steps, &a.Wall, &a.CPU); err != nil {
			return fmt.Errorf("%s: %w: %.200q", c.name, err, line)
		}
	} else if a, err = c.ask(request{Op: "run", Seconds: seconds}); err != nil {
		return err
	}
	c.runs = append(c.runs, a)
	return nil
}

// micros returns the time of a step in each round, in microseconds.
func (c *contestant) micros(clock string) []float64 {
	var us []float64
	for _, a := range c.runs {
		t := a.Wall
		if clock == "cpu" && a.CPU > 0 {
			t = a.CPU
		}
		us = append(us, 1e6*t/a.Steps)
	}
	return us
}

// share returns how much of a core the process had in the median round, 0
// where that is not known; main how much of its time was the main thread's.
func (c *contestant) share() (share, main float64) {
	var shares, mains []float64
	for _, a := range c.runs {
		shares = append(shares, a.CPU/a.Wall)
		if a.Main > 0 && a.CPU > 0 {
			mains = append(mains, a.Main/a.CPU)
		}
	}
	if len(mains) == 0 {
		return median(shares), 1
	}
	return median(shares), median(mains)
}

// memory returns the process's largest resident set in MiB, 0 where the
// system does not report it.
func (c *contestant) memory() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err == nil {
				return kib / 1024
			}
		}
	}
	return 0
}

// close ends the process; it is waited for.
func (c *contestant) close() {
	_ = c.in.Close() // the end of input ends it
	_ = c.cmd.Wait()
}

// starter starts contestants.
type starter struct {
	options measureOptions
	inputs  *inputs
	dir     string // of compiled programs and the peer's script
	self    string
	built   map[string]error // by program, once tried
	torch   error            // why there is none, once known
	metrics *metricsService  // once needed
}

func (s *starter) close() {
	if s.metrics != nil {
		s.metrics.close()
	}
}

// start starts a contestant and has it prepare the job. An [absentError] says
// that there is no such contestant here; [errNotBuilt] that ours cannot do it.
func (s *starter) start(ctx context.Context, name string, j job) (*contestant, error) {
	if err := s.inputs.fill(ctx, &j); err != nil {
		return nil, err
	}
	if j.Metrics != "" {
		if s.metrics == nil {
			var err error
			if s.metrics, err = startMetrics(ctx, s.dir); err != nil {
				return nil, err
			}
		}
		j.Metrics = s.metrics.address
	}
	switch name {
	case "ours", "gonum", "bare", "ready", "copy", "peak":
		c, err := start(ctx, name, false, s.self, "--child")
		if err != nil {
			return nil, err
		}
		if c.about, err = c.ask(request{Op: "about"}); err != nil {
			c.close()
			return nil, err
		}
		return s.prepare(c, j)
	case "torch":
		return s.startTorch(ctx, j)
	case "c":
		path, err := s.compile(ctx, "prototype", prototypeSource, "-O3", "-march=native", "-fopenmp-simd", "-lm")
		if err != nil {
			return nil, err
		}
		args := []string{j.X, j.Y, strconv.Itoa(j.Examples)}
		for _, n := range j.Sizes {
			args = append(args, strconv.Itoa(n))
		}
		return start(ctx, name, true, path, args...)
	case "openblas":
		path, err := s.compile(ctx, "blas", blasSource, "-O2", "-ldl")
		if err != nil {
			return nil, err
		}
		c, err := start(ctx, name, true, path, j.Form, strconv.Itoa(j.M), strconv.Itoa(j.N), strconv.Itoa(j.K))
		if err != nil {
			return nil, err
		}
		if c.about.Version, err = c.out.ReadString('\n'); err != nil || strings.HasPrefix(c.about.Version, "no ") {
			c.close()
			return nil, &absentError{"OpenBLAS is missing: apt-get install libopenblas0-pthread"}
		}
		c.about.Version = strings.TrimSpace(c.about.Version)
		return c, nil
	}
	return nil, fmt.Errorf("unknown contestant %q", name)
}

func (s *starter) prepare(c *contestant, j job) (*contestant, error) {
	a, err := c.ask(request{Op: "prepare", Job: &j})
	if err != nil {
		c.close()
		return nil, err
	}
	c.loss = a.Loss
	return c, nil
}

func (s *starter) startTorch(ctx context.Context, j job) (*contestant, error) {
	if !s.options.peer {
		return nil, &absentError{"not asked for (--peer none)"}
	}
	if s.torch != nil {
		return nil, s.torch
	}
	const install = "PyTorch is missing: apt-get install python3-torch python3-numpy libopenblas0-pthread, or --python with one that has it"
	script := filepath.Join(s.dir, "peer.py")
	if err := os.WriteFile(script, peerScript, 0o600); err != nil {
		return nil, err
	}
	c, err := start(ctx, "torch", false, s.options.python, script)
	if err != nil {
		s.torch = &absentError{fmt.Sprintf("%s (%v)", install, err)}
		return nil, s.torch
	}
	if c.about, err = c.ask(request{Op: "about"}); err != nil {
		c.close()
		s.torch = &absentError{fmt.Sprintf("%s (%v)", install, err)}
		return nil, s.torch
	}
	c.about.Version += " in Python " + c.about.Python
	return s.prepare(c, j)
}

// compile makes a C program, once.
func (s *starter) compile(ctx context.Context, name string, source []byte, flags ...string) (string, error) {
	path := filepath.Join(s.dir, name)
	if err, done := s.built[name]; done {
		return path, err
	}
	build := func() error {
		if err := os.WriteFile(path+".c", source, 0o600); err != nil {
			return err
		}
		args := append([]string{"-o", path, path + ".c"}, flags...)
		out, err := exec.CommandContext(ctx, s.options.cc, args...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return &absentError{"a C compiler is missing: apt-get install gcc libc6-dev, or --cc"}
		}
		if err != nil {
			return &absentError{fmt.Sprintf("%s cannot compile %s.c: %.300s", s.options.cc, name, out)}
		}
		return nil
	}
	s.built[name] = build()
	return path, s.built[name]
}
