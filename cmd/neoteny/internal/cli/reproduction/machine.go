package reproduction

import (
	"os"
	"runtime"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/recipes"
)

// machine describes what results are computed on.
func machine() recipes.Machine {
	m := recipes.Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), ISA: app.ISA(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b, err := os.ReadFile("/proc/cpuinfo") // only Linux has the model there
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); strings.TrimSpace(k) == "model name" {
			m.CPU = strings.Join(strings.Fields(v), " ")
			break
		}
	}
	return m
}
