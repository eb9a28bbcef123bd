package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"neoteny/pkg/engine/kernel"
)

// request and answer are what the measuring process and the measured ones say
// to each other, one JSON object a line. peers/peer.py speaks the same.
type request struct {
	Op      string  `json:"op"` // about, prepare or run
	Job     *job    `json:"job,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

type answer struct {
	Error    string `json:"error,omitempty"`
	NotBuilt bool   `json:"not_built,omitempty"` // the error is an errNotBuilt

	// about
	Version    string `json:"version,omitempty"`
	Python     string `json:"python,omitempty"`
	Capability string `json:"capability,omitempty"`
	Threads    int    `json:"threads,omitempty"`

	// prepare
	Loss float64 `json:"loss,omitempty"` // mean over the warm-up

	// run
	Steps float64 `json:"steps,omitempty"`
	Wall  float64 `json:"wall,omitempty"` // seconds
	CPU   float64 `json:"cpu,omitempty"`  // seconds of all threads
	Main  float64 `json:"main,omitempty"` // seconds of the main thread, where known
}

// errNotBuilt marks a job that this version of the engine cannot do.
var errNotBuilt = errors.New("not in this version")

// task is a job ready to run.
type task struct {
	step  func() error
	units float64 // steps that one call makes: lanes
	loss  float64
}

// serve is the measured process: it prepares one job at a time and runs it for
// for as long as the parent asks for.
func serve(in io.Reader, out io.Writer) error {
	var t *task
	dec, enc := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var r request
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		var err error
		switch r.Op {
		case "about":
			a.Capability, err = kernel.Active().String(), kernel.Err()
		case "prepare":
			if t, err = prepare(*r.Job); err == nil {
				a.Loss = t.loss
			}
		case "run":
			if t == nil {
				err = errors.New("nothing is prepared")
			} else {
				a, err = t.run(r.Seconds)
			}
		default:
			err = fmt.Errorf("unknown request %q", r.Op)
		}
		if err != nil {
			a = answer{Error: err.Error(), NotBuilt: errors.Is(err, errNotBuilt)}
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
}

func prepare(j job) (*task, error) {
	switch j.Kind {
	case "train":
		return prepareTraining(j)
	case "life":
		return prepareLife(j)
	case "bare":
		return prepareBare(j)
	case "gemm":
		return prepareGEMM(j)
	case "stream":
		return prepareStream(j)
	case "peak":
		return preparePeak()
	}
	return nil, fmt.Errorf("unknown job %q", j.Kind)
}

// run steps for about so many seconds, at least three times. It looks at the
// clock every 2 ms or so.
func (t *task) run(seconds float64) (answer, error) {
	const maxChunk = 1 << 16
	chunk := 1
	for start := time.Now(); ; chunk *= 2 {
		for range chunk {
			if err := t.step(); err != nil {
				return answer{}, err
			}
		}
		if time.Since(start) > time.Millisecond || chunk == maxChunk {
			break
		}
	}
	n, cpu, start := 0, cpuTime(), time.Now()
	for n < 3 || time.Since(start).Seconds() < seconds {
		for range chunk {
			if err := t.step(); err != nil {
				return answer{}, err
			}
		}
		n += chunk
	}
	wall := time.Since(start).Seconds()
	return answer{Steps: float64(n) * t.units, Wall: wall, CPU: cpuTime() - cpu}, nil
}
