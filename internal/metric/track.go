package metric

import (
	"fmt"
	"strings"
)

// MainTrack is the name of a run's own line of life.
const MainTrack = "main"

const (
	maxRunBytes   = 512
	maxTrackBytes = 64
)

// Track names the table that rows belong to: one line of a run's life.
type Track struct{ Run, Name string }

// NewTrack checks a run id and the name of a track (empty: the main one) that
// came from outside.
func NewTrack(run, name string) (Track, error) {
	if name == "" {
		name = MainTrack
	}
	if _, _, _, err := splitRun(run); err != nil {
		return Track{}, err
	}
	if err := checkText("track", name, maxTrackBytes); err != nil {
		return Track{}, err
	}
	return Track{run, name}, nil
}

func (t Track) String() string {
	if t.Name == MainTrack {
		return t.Run
	}
	return t.Run + " track " + t.Name
}

// Split takes the run id, <experiment>/<trial>/<seed>, apart.
func (t Track) Split() (experiment, trial, seed string) {
	experiment, trial, seed, err := splitRun(t.Run)
	if err != nil { // NewTrack made the track
		panic(err)
	}
	return experiment, trial, seed
}

// splitRun takes the trial for whatever lies between the first and the last
// slash.
func splitRun(run string) (experiment, trial, seed string, err error) {
	if err := checkText("run id", run, maxRunBytes); err != nil {
		return "", "", "", err
	}
	first, last := strings.IndexByte(run, '/'), strings.LastIndexByte(run, '/')
	if first <= 0 || last == len(run)-1 || last < first+2 {
		return "", "", "", fmt.Errorf("run id %q is not <experiment>/<trial>/<seed>", run)
	}
	return run[:first], run[first+1 : last], run[last+1:], nil
}
