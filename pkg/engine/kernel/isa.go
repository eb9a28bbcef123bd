package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/cpu"
)

// ISA is an instruction set that kernels exist for. All give the same bits.
type ISA uint8

// The instruction sets.
const (
	Generic ISA = iota // pure Go: the specification of all others
	NEON               // arm64
	AVX2               // amd64 with AVX2, FMA and BMI2
	AVX512             // amd64 with AVX-512 F, DQ, BW and VL
)

var isaNames = [...]string{"generic", "neon", "avx2", "avx512"}

// String returns the name that NEOTENY_ISA takes.
func (i ISA) String() string { return isaNames[i] }

// active is written at start and by tests only.
var active, isaErr = choose(os.Getenv("NEOTENY_ISA"))

// Active returns the instruction set in use: the best that the machine has, or
// the one that the environment variable NEOTENY_ISA names.
func Active() ISA { return active }

// Err says what is wrong with NEOTENY_ISA: then the generic kernels are in use.
func Err() error { return isaErr }

// Available returns the instruction sets that this machine has, the best last.
func Available() []ISA {
	isas := []ISA{Generic}
	if hasNEON {
		isas = append(isas, NEON)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasBMI2 {
		isas = append(isas, AVX2)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL {
			isas = append(isas, AVX512)
		}
	}
	return isas
}

func choose(name string) (ISA, error) {
	have := Available()
	if name == "" {
		return have[len(have)-1], nil
	}
	i := slices.Index(isaNames[:], strings.ToLower(name))
	if i < 0 {
		return Generic, fmt.Errorf("NEOTENY_ISA=%s: want one of %s", name, strings.Join(isaNames[:], ", "))
	}
	if !slices.Contains(have, ISA(i)) {
		return Generic, fmt.Errorf("NEOTENY_ISA=%s: this machine has %v", name, have)
	}
	return ISA(i), nil
}

// ForceISA makes an available instruction set the active one until restore is
// called. For tests: it must not run beside kernels.
func ForceISA(isa ISA) (restore func()) {
	if !slices.Contains(Available(), isa) {
		panic(fmt.Sprintf("kernel: this machine has no %s", isa))
	}
	old := active
	active = isa
	return func() { active = old }
}
