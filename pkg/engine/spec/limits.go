package spec

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/tensor"
)

// MaxBytes is the most memory that a spec may ask for, by an estimate that is
// made before anything is allocated. It counts float32 arrays:
//
//	parameters · (weight + gradient + the optimiser's states)
//	batch · (inputs + 2·activations)                 forward and backward
//	two more copies of weights and states            for a learner that may be frozen
//	samples · (inputs + activations)                 for each number of samples that probes ask for
//
// Datasets, the states of methods and what probes compute with are not in it.
const MaxBytes = 8 << 30

// stateful is what an optimiser's configuration may implement: how many arrays
// of the parameters' size it keeps.
type stateful interface{ StateArrays() int }

// checkMemory refuses specs that need more than MaxBytes, or an array of more
// than [tensor.MaxElems] elements. It names the field that is to blame: the
// network where a batch of one would be too much already.
func (s *Spec) checkMemory() error {
	if s.Network == nil {
		return nil
	}
	network, ok := s.Network.Config.(nn.Sizer)
	if !ok {
		return nil
	}
	inputs := s.Info.Input.Elems()
	size, err := network.Size(s.reads(), s.Info.Outputs, s.Info.Batch)
	if err != nil {
		return component.At("learner.network", err)
	}
	params := size.Params
	if params > tensor.MaxElems {
		return component.Fieldf("learner.network", "has %d parameters, at most %d are allowed", params, int64(tensor.MaxElems))
	}
	arrays := 2
	if o, ok := s.Optimizer.Config.(stateful); ok {
		arrays += o.StateArrays()
	}
	if s.Freezes {
		arrays += 2 * (arrays - 1) // two copies of all but the gradient
	}
	// In float64 nothing overflows.
	activations := float64(size.Activations)
	widest := max(size.Widest, int64(inputs))
	fixed := float64(4 * float64(params) * float64(arrays))
	each := float64(4 * (float64(inputs) + 2*activations))
	if need := fixed + each; need > MaxBytes {
		return component.Fieldf("learner.network", "with %d parameters takes %s to train with %s, at most %s are allowed",
			params, gib(need), s.Optimizer.Name, gib(MaxBytes))
	}
	batch := float64(s.Info.Batch)
	field := "stream.batch"
	switch {
	case s.World != nil:
		field = "environment"
	case s.Stream.Path == "": // of a caller of NewLearner
		field = "info.Batch"
	}
	used := fixed + float64(batch*each)
	if err := fits(field, s.Info.Batch, widest, used); err != nil {
		return err
	}
	var errs []error
	known := map[int]bool{}
	for _, p := range s.Probes {
		n := samples(p.Resolved)
		if n == 0 || known[n] {
			continue // probes that ask for the same number share an evaluation
		}
		known[n] = true
		need := used + float64(4*float64(n)*(float64(inputs)+activations))
		if err := fits(p.Path+".samples", n, widest, need); err != nil {
			errs = append(errs, err)
			continue
		}
		used = need
	}
	return errors.Join(errs...)
}

// reads is the shape in which the network reads examples.
func (s *Spec) reads() tensor.Shape {
	shape, _ := nn.ReadAs(s.Network.Config, s.Info.Input, s.Info.ChannelsFirst)
	return shape
}

// fits reports a field that asks for n examples at once, if that is too much.
func fits(field string, n int, widest int64, need float64) error {
	if float64(n)*float64(widest) > tensor.MaxElems {
		return component.Fieldf(field, "%d examples in a layer of %d units are more than %d elements; ask for fewer", n, widest, int64(tensor.MaxElems))
	}
	if need > MaxBytes {
		return component.Fieldf(field, "with %d examples at once the run takes %s, at most %s are allowed; ask for fewer", n, gib(need), gib(MaxBytes))
	}
	return nil
}

// samples returns how many examples a probe evaluates: its parameter of that
// name, by convention.
func samples(p interface{ Canonical() map[string]any }) int {
	n, _ := p.Canonical()["samples"].(float64)
	return int(n)
}

func gib(bytes float64) string { return fmt.Sprintf("%.1f GiB", bytes/(1<<30)) }
