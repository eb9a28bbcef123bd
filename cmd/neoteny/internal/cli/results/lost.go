package results

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/cmd/neoteny/internal/cli/render"
)

// Lost is a run whose results are not all there: its per-step data, or its task table.
type Lost struct {
	Run string
	Why string
}

// errLost says that what the services have of a run is less than what its workers
// committed.
type errLost struct{ why string }

func (e *errLost) Error() string { return e.why }

// lostOf returns why the per-step data of a run are lost, if that is what an error says,
// or the number of values that there were.
func lostOf(run Run, values int64, err error) (why string, lost bool) {
	committed := run.GetCommitted().GetMetrics()
	if missing, ok := errors.AsType[*errLost](err); ok {
		return missing.why, true
	}
	switch code := status.Code(err); {
	case code == codes.DataLoss:
		return status.Convert(err).Message(), true
	case code == codes.NotFound && (run.GetStepsDone() > 0 || committed.GetValues() > 0):
		return "the metrics service has nothing of it", true
	case err == nil && values < committed.GetValues():
		return fmt.Sprintf("the metrics service has %d of %d values", values, committed.GetValues()), true
	}
	return "", false
}

// lose remembers that a run has lost results.
func (r *Result) lose(run Run, why string) {
	r.losing.Lock()
	defer r.losing.Unlock()
	if slices.ContainsFunc(r.Lost, func(l Lost) bool { return l.Run == run.GetId() }) {
		return
	}
	r.Lost = append(r.Lost, Lost{run.GetId(), why})
	slices.SortFunc(r.Lost, func(a, b Lost) int { return cmp.Compare(a.Run, b.Run) })
}

// LostRuns are the ids of the runs that have lost results.
func (r *Result) LostRuns() []string {
	var ids []string
	for _, l := range r.Lost {
		ids = append(ids, l.Run)
	}
	return ids
}

// shownLost is how many lost runs are named one by one.
const shownLost = 20

// WriteLost names the runs that have lost results.
func (r *Result) WriteLost(w io.Writer) error {
	t := &render.Table{Columns: []render.Column{{Title: "RUN"}, {Title: "RESULTS ARE MISSING"}}}
	for i, l := range r.Lost {
		if i == shownLost {
			t.Add("…", fmt.Sprintf("and of %d more runs", len(r.Lost)-i))
			break
		}
		t.Add(l.Run, strings.ReplaceAll(l.Why, "\n", " "))
	}
	return t.Write(w)
}
