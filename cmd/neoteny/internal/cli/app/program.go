package app

import (
	"runtime/debug"

	"neoteny/pkg/engine/kernel"
)

// ProgramVersion is the module's version; "devel" where it was built from a
// work tree.
func ProgramVersion() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return "devel"
}

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
