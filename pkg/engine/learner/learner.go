// Package learner has the contract between what lives (a network with its
// learning rule, optimiser and methods, or a system of its own) and what makes
// it live: the life, its methods and its probes.
package learner

import (
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/stream"
)

// Learner is what lives through a stream.
type Learner interface {
	// Step makes one update on s.Batch and fills in the results of s.
	Step(s *Step) error
	// EndTask is called after the last step of a task, s.
	EndTask(s *Step) error
	// Evaluate runs the network on a batch without learning from it. The result
	// is valid until the next Evaluate of the same batch size.
	Evaluate(b *stream.Batch) (*Evaluation, error)
	// Store holds all state: what a checkpoint keeps is its persistent
	// variables.
	Store() *graph.Store
}

// Step is one update: where it stands in the run, its batch, and what came of
// it. Results are those of the forward pass before the update, so that they
// measure online performance.
type Step struct {
	Index    int64 // since the start of the run
	Task     int
	TaskStep int64 // since the start of the task
	LastStep bool  // of its task
	Batch    *stream.Batch
	// Diverged says that the learner has diverged in this step or before, in a life that
	// goes on with it frozen: results are those of an evaluation.
	Diverged bool
	// Relabel knows the present labels of what was shown before; nil for streams
	// whose labels last as long as a task.
	Relabel stream.Relabeler

	// In an environment: the reward, and whether an episode ended with this step.
	Reward     float32
	EpisodeEnd bool

	Loss     float32     // mean over the batch, without penalties
	Correct  []float32   // [n] 1 where the largest logit is at the label; classification
	Output   []float32   // [n][outputs]
	Features [][]float32 // [n·rows][units] per group of hidden units; see nn.Activations
}

// Evaluation is a forward pass for measurements.
type Evaluation struct {
	N        int
	Batch    *stream.Batch // what was evaluated
	Losses   []float32     // [n]
	Correct  []float32     // [n]; classification
	Output   []float32     // [n][outputs]
	Features [][]float32   // [n·rows][units] per group of hidden units; see nn.Activations
}
