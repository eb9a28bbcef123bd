package spec

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// checkCaller fills in what may be left out of a caller's info.
func checkCaller(info stream.Info) (stream.Info, error) {
	if info.Classes > 0 && info.Outputs == 0 {
		info.Outputs = info.Classes
	}
	if info.StepsPerTask == 0 {
		info.StepsPerTask = stream.MaxSteps
	}
	info.Tasks = max(info.Tasks, 1)
	switch {
	case len(info.Input) == 0:
		return info, component.Fieldf("Input", "missing: give the shape of one example")
	case info.Classes < 0:
		return info, component.Fieldf("Classes", "must not be negative, is %d", info.Classes)
	case info.Classes > 0 && info.Outputs != info.Classes:
		return info, component.Fieldf("Outputs", "must be 0 or the %d classes, is %d", info.Classes, info.Outputs)
	case info.Outputs < 1:
		return info, component.Fieldf("Outputs", "must be at least 1, is %d (or give Classes)", info.Outputs)
	case info.StepsPerTask < 0:
		return info, component.Fieldf("StepsPerTask", "must not be negative, is %d", info.StepsPerTask)
	case info.Batch < 1:
		return info, component.Fieldf("Batch", "must be at least 1, is %d", info.Batch)
	}
	if err := append(tensor.Shape{info.Batch}, info.Input...).Check(); err != nil {
		return info, component.Fieldf("Input", "a batch of %d: %v", info.Batch, err)
	}
	if err := (tensor.Shape{info.Batch, info.Outputs}).Check(); err != nil {
		return info, component.Fieldf("Outputs", "a batch of %d: %v", info.Batch, err)
	}
	return info, nil
}

// callers is the configuration of the stream that a caller of [ResolveLearner] is.
type callers struct{ info stream.Info }

func (c callers) Validate() error { return nil }

// Info implements [stream.Config].
func (c callers) Info() (stream.Info, error) { return c.info, nil }
