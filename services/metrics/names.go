package metrics

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// mainTrack is the name of a run's own line of life.
const mainTrack = "main"

const (
	maxRunBytes   = 512
	maxTrackBytes = 64
	// maxFileName keeps a name with its extension below the 255 bytes that
	// common file systems take.
	maxFileName = 200
)

// trackKey names what is stored together: one track of one run.
type trackKey struct{ run, track string }

func (k trackKey) String() string {
	if k.track == mainTrack {
		return k.run
	}
	return k.run + " track " + k.track
}

// newTrackKey checks a run id and a track name that came from outside.
func newTrackKey(run, track string) (trackKey, error) {
	if track == "" {
		track = mainTrack
	}
	if _, _, _, err := splitRun(run); err != nil {
		return trackKey{}, err
	}
	if len(track) > maxTrackBytes || !utf8.ValidString(track) {
		return trackKey{}, fmt.Errorf("track is not UTF-8 text of at most %d bytes", maxTrackBytes)
	}
	return trackKey{run, track}, nil
}

// splitRun takes a run id, <experiment>/<trial>/<seed>, apart. The trial is
// whatever lies between the first and the last slash.
func splitRun(run string) (experiment, trial, seed string, err error) {
	if len(run) > maxRunBytes || !utf8.ValidString(run) {
		return "", "", "", fmt.Errorf("run id is not UTF-8 text of at most %d bytes", maxRunBytes)
	}
	first, last := strings.IndexByte(run, '/'), strings.LastIndexByte(run, '/')
	if first <= 0 || last == len(run)-1 || last < first+2 {
		return "", "", "", fmt.Errorf("run id %q is not <experiment>/<trial>/<seed>", run)
	}
	return run[:first], run[first+1 : last], run[last+1:], nil
}

// escape maps text to a file name one to one: lower-case letters, digits, dash,
// underscore and inner dots stay, every other byte becomes %XX. The result
// never starts with a dot, contains no separator and differs between names that
// differ only in case, which matters where the file system folds it.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// shorten bounds a file name. The tilde occurs in no escaped name, so a
// shortened one cannot meet another.
func shorten(name string) string {
	if len(name) <= maxFileName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:maxFileName-33] + "~" + hex.EncodeToString(sum[:16])
}

// folder returns the folder of an experiment, relative to the data folder.
func folder(experiment string) string { return shorten(escape(experiment)) }

// fileNames returns the experiment's folder and the track's file name without
// its extension: <trial>@<seed>@<track>.
func (k trackKey) fileNames() (dir, base string) {
	experiment, trial, seed, err := splitRun(k.run)
	if err != nil { // newTrackKey made the key
		panic(err)
	}
	return folder(experiment), shorten(escape(trial) + "@" + escape(seed) + "@" + escape(k.track))
}
