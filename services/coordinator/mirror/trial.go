package mirror

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"neoteny/internal/cluster"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/seeds"
)

// Trial is a trial of an experiment. It is never changed.
type Trial struct {
	Rec *pb.TrialRecord // without its canonical spec
	// Form is what trials have in common whose runs can be a pack: see [formOf].
	Form [sha256.Size]byte
	// Deferred is where measurements of its runs are deferred, Measured how many
	// there are of each run.
	Deferred experiment.DeferredSteps
	Measured int
}

func (e *Experiment) setTrial(c cluster.Change) {
	e.totals, e.Begun = nil, 0
	if old := e.Trials[c.Trial]; old != nil {
		if i := int(old.Rec.Index); i < len(e.byIndex) && e.byIndex[i] == old {
			e.byIndex[i] = nil
		}
		delete(e.Trials, c.Trial)
	}
	if c.Deleted {
		return
	}
	rec := c.Msg.(*pb.TrialRecord)
	t := &Trial{
		Rec:      rec,
		Form:     formOf(rec.CanonicalSpec),
		Deferred: experiment.DeferredSteps{Schedules: rec.Asides, Tasks: int64(rec.Tasks), StepsPerTask: rec.StepsPerTask},
	}
	t.Measured = int(t.Deferred.Count())
	rec.CanonicalSpec = nil // read when needed
	e.Trials[c.Trial] = t
	for int(rec.Index) >= len(e.byIndex) {
		e.byIndex = append(e.byIndex, nil)
	}
	e.byIndex[rec.Index] = t
	e.most = max(e.most, int64(t.Seeds().Len()))
	if e.Rec.GetGeneration() > 0 { // its runs may have become longer
		for _, r := range e.Runs {
			if r.Rec.GetTrial() == rec.Name {
				e.unfile(r)
				e.file(r)
			}
		}
	}
}

// Steps is how many each of its runs has.
func (t *Trial) Steps() int64 { return int64(t.Rec.Tasks) * t.Rec.StepsPerTask }

// formOf is equal for trials whose specs differ only in numbers that are no
// integers: those change what a program computes with, while integers give
// sizes. The engine has the last word on what is alike.
func formOf(canonicalSpec []byte) [sha256.Size]byte {
	d := json.NewDecoder(bytes.NewReader(canonicalSpec))
	d.UseNumber()
	h := sha256.New()
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		if n, ok := token.(json.Number); ok {
			if _, err := n.Int64(); err != nil {
				token = "a fraction"
			}
		}
		fmt.Fprintf(h, "%T %v\n", token, token)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Seeds are those that every trial of the experiment runs on.
func (t *Trial) Seeds() seeds.Set { return seeds.Set{Packed: t.Rec.Seeds} }

// Pack is how many of a trial's runs do best in one slot, at least 1.
func (t *Trial) Pack() int {
	if t == nil {
		return 1
	}
	return min(max(1, int(t.Rec.Pack)), cluster.MaxPack)
}
