// Package engine trains small networks for very many steps, on one core per
// run, with nothing allocated per step.
//
// A [Spec] is resolved from JSON objects through the component registries; a
// [Life] is one run of it: Advance lives on, emitting every metric value and,
// at task boundaries, digests and the row of the task table; Save and Load cut
// it anywhere. Import neoteny/pkg/engine/all for the components that come with
// neoteny.
package engine
