// Package build says which program this is and what it runs on.
package build

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"neoteny/pkg/engine/kernel"
)

// Version is the module's version; "devel" where it was built from a work tree.
func Version() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return "devel"
}

// Revision is the commit that the program was built from, with "+modified" behind it
// where files were changed; empty where that is not known.
func Revision() string {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	rev, dirty := "", ""
	for _, s := range bi.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+modified"
		}
	}
	if rev == "" {
		return ""
	}
	return rev + dirty
}

// ISA names the instruction set that the kernels use.
func ISA() string { return kernel.Active().String() }

// Machine is what a program runs on.
type Machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	ISA      string `json:"isa"`
	Platform string `json:"platform"`
}

// ThisMachine describes what the program runs on.
func ThisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), ISA: ISA(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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
