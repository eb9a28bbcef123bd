package wiring

import (
	"log/slog"
	"os"

	"neoteny/pkg/engine/kernel"
)

// WarnOfSlowKernels says so where training runs on the portable kernels: measured 27
// times slower than with AVX-512.
func WarnOfSlowKernels(log *slog.Logger) {
	if kernel.Active() != kernel.Generic {
		return
	}
	why := "this machine has neither AVX2, AVX-512 nor NEON"
	if os.Getenv("NEOTENY_ISA") != "" {
		why = "NEOTENY_ISA=generic asks for it"
	}
	log.Warn("training uses the portable kernels, which are up to 30 times slower: same results, later", "reason", why)
}
