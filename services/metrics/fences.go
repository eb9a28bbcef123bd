package metrics

// maxFences bounds what is remembered about overtaken attempts of one track.
const maxFences = 16

// fence says that an attempt has sent the rows below end.
type fence struct{ attempt, end int64 }

// fences holds, by rising attempt, how far each has sent. An attempt that a
// higher one has passed says nothing any more and is left out, so the ends fall.
type fences []fence

// stale reports whether a higher attempt has sent rows at or beyond step.
func (f fences) stale(attempt, step int64) bool {
	for _, x := range f {
		if x.attempt > attempt && x.end > step {
			return true
		}
	}
	return false
}

// with returns the fences after the attempt has sent the rows below end.
func (f fences) with(attempt, end int64) fences {
	if n := len(f); n > 0 && f[n-1].attempt == attempt && f[n-1].end >= end {
		return f
	}
	out := make(fences, 0, len(f)+1)
	placed := false
	for _, x := range f {
		if x.attempt == attempt {
			end = max(end, x.end)
			continue
		}
		if x.attempt > attempt && !placed {
			out, placed = append(out, fence{attempt, end}), true
		}
		out = append(out, x)
	}
	if !placed {
		out = append(out, fence{attempt, end})
	}
	kept := out[:0]
	for i, x := range out {
		passed := false
		for _, y := range out[i+1:] {
			passed = passed || y.end >= x.end
		}
		if !passed {
			kept = append(kept, x)
		}
	}
	if len(kept) > maxFences {
		kept = kept[len(kept)-maxFences:]
	}
	return kept
}
