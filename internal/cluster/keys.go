package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	pb "neoteny/proto/neoteny/v1"
)

// MainTrack is the track of a run's own life.
const MainTrack = "main"

// deferredPrefix begins the names of tracks of deferred measurements. It is part of
// keys in etcd and of metrics on disk.
const deferredPrefix = "aside-"

// DeferredTrack is the track that forks from the main one at a step, for a deferred
// measurement.
func DeferredTrack(step int64) string { return deferredPrefix + strconv.FormatInt(step, 10) }

// IsDeferred reports whether a track is of a deferred measurement.
func IsDeferred(track string) bool { return strings.HasPrefix(track, deferredPrefix) }

const (
	keySchema   = "meta/schema"
	keyNumerics = "meta/numerics"
	pfxRequest  = "requests/"
	pfxExp      = "experiments/"
	pfxControl  = "control/"
	pfxTrial    = "trials/"
	pfxRun      = "runs/"
	pfxSegment  = "segments/"
	pfxWorker   = "workers/"
	pfxAssigned = "assign/"
)

func trialKey(experiment, trial string) string { return pfxTrial + experiment + "/" + trial }

func segmentKey(ref *pb.SegmentRef) string {
	return fmt.Sprintf("%s%s/%s/%020d", pfxSegment, ref.Run, track(ref), ref.FirstStep)
}

func track(ref *pb.SegmentRef) string {
	if ref.Track == "" {
		return MainTrack
	}
	return ref.Track
}

// AssignmentID names the assignment of one segment's attempt. It is unique
// among all assignments, and holds no slash.
func AssignmentID(ref *pb.SegmentRef, attempt int64) string {
	return fmt.Sprintf("%s.%s.%d.%d", strings.ReplaceAll(ref.Run, "/", "."), track(ref), ref.FirstStep, attempt)
}

func assignKey(worker string, ref *pb.SegmentRef, attempt int64) string {
	return pfxAssigned + worker + "/" + AssignmentID(ref, attempt)
}

// SplitRun takes a run id apart.
func SplitRun(id string) (experiment, trial, seed string, err error) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", "", fmt.Errorf("run id %q is not <experiment>/<trial>/<seed>", id)
	}
	return parts[0], parts[1], parts[2], nil
}

// checkRef refuses references that would name other keys than a segment's.
func checkRef(ref *pb.SegmentRef) error {
	if ref == nil {
		return errors.New("no segment given")
	}
	if _, _, _, err := SplitRun(ref.Run); err != nil {
		return err
	}
	if strings.Contains(ref.Track, "/") {
		return fmt.Errorf("track %q holds a slash", ref.Track)
	}
	if ref.FirstStep < 0 || ref.EndStep <= ref.FirstStep {
		return fmt.Errorf("segment of %s: steps [%d, %d) are none", ref.Run, ref.FirstStep, ref.EndStep)
	}
	return nil
}

// checkName refuses names that could not be one part of a key.
func checkName(what, name string) error {
	if name == "" || len(name) > 128 || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%s %q: want 1 to 128 characters without a slash", what, name)
	}
	return nil
}

// parseSegmentKey is the inverse of segmentKey, without the end.
func parseSegmentKey(rest string) (*pb.SegmentRef, error) {
	parts := strings.Split(rest, "/")
	if len(parts) != 5 {
		return nil, fmt.Errorf("segment key %q has %d parts", rest, len(parts))
	}
	first, err := strconv.ParseInt(parts[4], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("segment key %q: %w", rest, err)
	}
	return &pb.SegmentRef{Run: strings.Join(parts[:3], "/"), Track: parts[3], FirstStep: first}, nil
}

// BlobPrefix is the folder of the blob store that holds what the coordinator
// keeps of an experiment.
func BlobPrefix(experiment string) string { return "experiments/" + experiment }

// BlobFolders are all folders of the blob store that hold something of an
// experiment; they are deleted with it.
func BlobFolders(experiment string) []string {
	return []string{BlobPrefix(experiment), "checkpoints/" + experiment, "artifacts/" + experiment}
}

// ArtifactKey is where an artifact of one of an experiment's runs is in the blob
// store: under its content.
func ArtifactKey(run, sha256 string) (string, error) {
	experiment, _, _, err := SplitRun(run)
	return "artifacts/" + experiment + "/" + sha256, err
}

// RunBlobPrefix is the folder of one run in BlobPrefix.
func RunBlobPrefix(run string) (string, error) {
	experiment, trial, seed, err := SplitRun(run)
	if err != nil {
		return "", err
	}
	return BlobPrefix(experiment) + "/runs/" + trial + "/" + seed, nil
}
