package worker

import (
	"slices"

	pb "neoteny/proto/neoteny/v1"
)

// warmLife is a life that stands where its checkpoint was made, or a pack of
// them, which is kept under the first one's key.
type warmLife struct {
	life   life // nil of a pack
	step   int64
	sha256 string
	warmPack
}

// warmPack is a pack that stands where the checkpoints of its lives were made.
type warmPack struct {
	pack   pack
	mates  []trackKey
	sha256 []string // of the checkpoints
}

// warmBytes estimates what a life takes: what is not in the checkpoint,
// intermediates and batches, is taken to be about as much again.
func warmBytes(r *pb.SegmentResult) int64 { return 2 * r.GetCheckpoint().GetBytes() }

// warmed returns the pack that the segments before have left, if it was of the
// same runs and stands where these segments start.
func (w *Worker) warmed(lanes []*lane) pack {
	k, ok := w.warm.take(lanes[0].job.key)
	if !ok || k.pack == nil || len(k.mates) != len(lanes) || k.step != lanes[0].job.ref.GetFirstStep() {
		return nil
	}
	for i, l := range lanes {
		if k.mates[i] != l.job.key || l.job.start == nil || k.warmPack.sha256[i] != l.job.start.GetSha256() {
			return nil
		}
	}
	for i, l := range k.pack.Lives() {
		lanes[i].life = l
		w.tel.Start("warm")
	}
	return k.pack
}

// keep keeps a pack for the next segments, if all of it has arrived and goes on.
func (w *Worker) keep(p pack, lanes []*lane, outs []outcome, committed []bool) {
	if slices.Contains(committed, false) || slices.ContainsFunc(outs, func(o outcome) bool { return o.last }) {
		return
	}
	var bytes int64
	k := warmLife{step: outs[0].result.GetEndStep(), warmPack: warmPack{pack: p}}
	for i, o := range outs {
		k.mates = append(k.mates, lanes[i].job.key)
		k.warmPack.sha256 = append(k.warmPack.sha256, o.result.GetCheckpoint().GetSha256())
		bytes += warmBytes(o.result)
	}
	w.warm.put(lanes[0].job.key, k, bytes)
}
