//go:build integration

// Package numerics reads what the compiler makes of the engine on other
// processors, where results must be the same bits.
package numerics

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// targets are processors for which Go fuses x*y + z unless the product is
// converted explicitly: float64(x*y) + z.
var targets = map[string][]string{
	"arm64":    {"GOARCH=arm64"},
	"amd64/v3": {"GOARCH=amd64", "GOAMD64=v3"},
}

// listings keeps what the compiler said about a target.
var listings = map[string][]line{}

const (
	root   = "../.."
	module = "neoteny/"
)

var (
	instruction = regexp.MustCompile(`^\s+0x[0-9a-f]+ \d+ \(([^()]+):(\d+)\)\s+([A-Z][A-Z0-9]*)(?:\s+(\S+))?`)
	function    = regexp.MustCompile(`^(\S+) STEXT`)
	// fused matches FMADDD, FNMSUBS, …, VFMADD231SD, FMADD.
	fused = regexp.MustCompile(`^V?FN?M(ADD|SUB)(132|213|231)?[SDP]*$`)
)

// line is one instruction of the compiler's listing.
type line struct {
	function string // whose code it is
	file     string // where the source is, perhaps inlined from another package
	number   int
	op, arg  string
}

// packages returns the packages of the engine that the program is made of: not the helpers of tests.
func packages(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "./cmd/neoteny")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err)
	var engine []string
	for _, p := range strings.Fields(string(out)) {
		if strings.HasPrefix(p, module+"pkg/engine") {
			engine = append(engine, p)
		}
	}
	require.Greater(t, len(engine), 20, "go list found too little to check")
	return engine
}

// listing returns the compiler's output of pkg/engine for a target, by its name. Assembly
// files, where fusing is asked for, are not part of it.
func listing(t *testing.T, name string) []line {
	t.Helper()
	if lines := listings[name]; lines != nil {
		return lines
	}
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-gcflags=" + module + "pkg/engine/...=-S"}, packages(t)...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), append(slices.Clone(targets[name]), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := regexp.MustCompile(`(?m)^(\t|\S+ S).*\n`).ReplaceAll(out, nil)
		t.Fatalf("%v: %v\n%s", cmd, err, text)
	}
	var lines []line
	in := ""
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		if m := function.FindStringSubmatch(s.Text()); m != nil {
			in = m[1]
		} else if m := instruction.FindStringSubmatch(s.Text()); m != nil {
			n, err := strconv.Atoi(m[2])
			require.NoError(t, err)
			lines = append(lines, line{in, m[1], n, m[3], m[4]})
		}
	}
	require.NoError(t, s.Err())
	require.Greater(t, len(lines), 10000, "the compiler's listing has another form")
	listings[name] = lines
	return lines
}

// TestNothingIsFusedUnasked: a fused multiply-add rounds once, and only some
// processors have it. The source asks for one with math.FMA, in the same line.
func TestNothingIsFusedUnasked(t *testing.T) {
	for name := range targets {
		t.Run(name, func(t *testing.T) {
			var found []string
			for _, l := range listing(t, name) {
				if fused.MatchString(l.op) && !strings.Contains(source(t, l), "math.FMA(") {
					found = append(found, fmt.Sprintf("%s:%d: %s in %s: %s", l.file, l.number, l.op, l.function, strings.TrimSpace(source(t, l))))
				}
			}
			slices.Sort(found)
			require.Empty(t, slices.Compact(found), "write float32(x*y) + z or float64(x*y) + z; to the compiler 2*x is x + x, and x/4 is x*0.25")
		})
	}
}

// source returns the line of source that an instruction comes from.
func source(t *testing.T, l line) string {
	t.Helper()
	file := strings.TrimPrefix(l.file, module)
	if file == l.file {
		return "" // of the standard library, inlined
	}
	b, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	return strings.Split(string(b), "\n")[l.number-1]
}

// exact are functions of package math that have one right result, and give it.
var exact = []string{
	"Abs", "Ceil", "Copysign", "FMA", "Float32bits", "Float32frombits", "Float64bits", "Float64frombits", "Floor", "Frexp",
	"Inf", "IsInf", "IsNaN", "Ldexp", "Mod", "Modf", "NaN", "Nextafter", "Nextafter32", "Remainder", "Round", "RoundToEven",
	"Sqrt", "Trunc",
}

// approximate are functions whose float64 results nothing but tests look at:
// the float64 twins of operations.
var approximate = regexp.MustCompile(`^neoteny/pkg/engine/graph\.(\w*\.twin|\w+64)$`)

// TestFunctionsAreTheEnginesOwn: math.Exp, Log, Tanh and so on have other bits
// on other processors. Package linalg has float64 ones, package kernel float32.
func TestFunctionsAreTheEnginesOwn(t *testing.T) {
	var found []string
	for _, l := range listing(t, "arm64") {
		name, called := strings.CutPrefix(l.arg, "math.")
		if !called || l.op != "CALL" || approximate.MatchString(l.function) {
			continue
		}
		name = strings.TrimPrefix(strings.TrimSuffix(name, "(SB)"), "arch")
		if !slices.ContainsFunc(exact, func(e string) bool { return strings.EqualFold(e, name) }) {
			found = append(found, fmt.Sprintf("%s calls math.%s (%s:%d)", l.function, name, l.file, l.number))
		}
	}
	slices.Sort(found)
	require.Empty(t, slices.Compact(found))
}
