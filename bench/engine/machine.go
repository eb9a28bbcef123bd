package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/kernel"
)

// machine is what the figures depend on besides the code.
type machine struct {
	Date       string  `json:"date"`
	Commit     string  `json:"commit,omitempty"`
	Numerics   int     `json:"numerics"`
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MHz        string  `json:"mhz,omitempty"` // as the system reports it
	ISA        string  `json:"isa"`           // of the kernels
	PeakGFLOPS float64 `json:"peak_gflops,omitempty"`
	OS         string  `json:"os"`
	Go         string  `json:"go"`
	Torch      string  `json:"torch,omitempty"`
	Python     string  `json:"python,omitempty"`
	Compiler   string  `json:"compiler,omitempty"`
	Rounds     int     `json:"rounds"`
	Seconds    float64 `json:"seconds"`
	Clock      string  `json:"clock"`
}

func describeMachine(ctx context.Context, s *starter) (*machine, error) {
	m := &machine{
		Date: time.Now().UTC().Format(time.DateOnly), Numerics: engine.NumericsVersion, Cores: runtime.NumCPU(),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Go: strings.TrimPrefix(runtime.Version(), "go"),
		Rounds: s.options.rounds, Seconds: s.options.seconds, Clock: s.options.clock,
	}
	m.CPU, m.MHz = cpuModel()
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	if out, err := exec.CommandContext(ctx, s.options.cc, "--version").Output(); err == nil {
		m.Compiler, _, _ = strings.Cut(string(out), "\n")
	}
	c, err := s.start(ctx, "peak", job{Kind: "peak"})
	if errors.Is(err, errNotBuilt) {
		m.ISA = kernel.Active().String()
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.close()
	m.ISA = c.about.Capability
	for range s.options.rounds {
		if err := c.run(s.options.seconds / 5); err != nil {
			return nil, err
		}
	}
	if us := median(c.micros(s.options.clock)); us > 0 {
		m.PeakGFLOPS = 1e6 / us
	}
	return m, nil
}

// cpuModel returns the processor's name and clock where Linux reports them.
func cpuModel() (name, mhz string) {
	name = runtime.GOARCH
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return name, ""
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(k) {
		case "model name":
			name = strings.TrimSpace(v)
		case "cpu MHz":
			mhz = strings.TrimSpace(v)
		}
	}
	return name, mhz
}

// lines describes the machine for people.
func (m *machine) lines() []string {
	out := []string{
		fmt.Sprintf("Processor: %s, %d cores, %s", m.CPU, m.Cores, m.OS),
	}
	if m.MHz != "" {
		out[0] += fmt.Sprintf(", %s MHz by /proc/cpuinfo", m.MHz)
	}
	kernels := fmt.Sprintf("Kernels: %s", m.ISA)
	if m.PeakGFLOPS > 0 {
		kernels += fmt.Sprintf("; fused multiply-adds from registers on one core: %.0f GFLOP/s", m.PeakGFLOPS)
	}
	out = append(out, kernels, fmt.Sprintf("Go %s, numerics version %d, commit %s, %s", m.Go, m.Numerics, m.Commit, m.Date))
	if m.Torch != "" {
		out = append(out, fmt.Sprintf("PyTorch %s in Python %s", m.Torch, m.Python))
	}
	if m.Compiler != "" {
		out = append(out, "C compiler: "+m.Compiler)
	}
	return append(out, fmt.Sprintf("Medians of %d rounds of %g s (%s clock), one core, contestants in turns", m.Rounds, m.Seconds, m.Clock))
}
