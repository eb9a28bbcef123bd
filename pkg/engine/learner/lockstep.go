package learner

import "errors"

// ErrNotAlike says that learners cannot step together: their networks, streams or
// methods differ in more than numbers, or they step in a way of their own.
var ErrNotAlike = errors.New("the runs are not alike")

// Joiner is implemented by learners that can step together with others which were
// built alike in the stores of [graph.NewLanes].
type Joiner interface {
	Learner
	// Join returns the steps of all learners, of which this is the first, as one. Its
	// error is [ErrNotAlike] where they must step one by one.
	Join(all []Learner) (Lockstep, error)
}

// Lockstep makes the steps of several learners together: each has the bits that it
// has alone.
type Lockstep interface {
	// Step makes one update of every learner whose errs is nil, on the batch of its
	// own step; all steps have the same Index. A learner that fails has its error in
	// errs, and the others go on. Slices are parallel to those of [Joiner].
	Step(steps []*Step, errs []error)
}
