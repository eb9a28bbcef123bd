package engine_test

import (
	"testing"

	"neoteny/pkg/engine/kernel"
)

// Every subject of the conformance suite lives the same life on every
// instruction set of this machine and in plain Go.
func TestEveryInstructionSetLivesTheSameLife(t *testing.T) {
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			spec := resolve(t, s.raw)
			want := live(t, spec, 1)
			for _, isa := range kernel.Available() {
				if isa == kernel.Active() {
					continue
				}
				restore := kernel.ForceISA(isa)
				got := live(t, spec, 1)
				restore()
				requireSame(t, want, got, isa.String())
			}
		})
	}
}
