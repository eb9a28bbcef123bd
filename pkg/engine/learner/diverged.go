package learner

import "fmt"

// Diverged is the error of a learner whose loss, weights or state are no longer
// finite. It ends a run as a result, not as a failure: everything that was measured
// until then counts.
type Diverged struct {
	Step  int64 // of the run
	Task  int
	Layer string // where the first value that is not finite was found; empty for states
	What  string // for example "the loss is NaN"
}

func (d *Diverged) Error() string {
	return fmt.Sprintf("step %d (task %d): %s; a smaller step size may help", d.Step, d.Task, d.What)
}
