// Command engine measures the training engine and its kernels on one core against what
// people would use instead: eager PyTorch, a C program, OpenBLAS, gonum.
//
//	go run ./bench/engine                              # everything, as tables: several minutes
//	go run ./bench/engine --case '^784-100x3' --json   # some cases, one JSON object a line
//	go run ./bench/engine --markdown > docs/performance.md
//
// Contestants are processes of their own, pinned to the same core, with one
// thread each. They are measured in turns, round after round, so that a slower
// clock or a busy neighbour meets all of them; figures are medians of rounds.
// A contestant that cannot run (no PyTorch, no C compiler) is named with the
// command that installs it, and the rest is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

const usage = `Measures the engine on one core against eager PyTorch, C, OpenBLAS and gonum.

  go run ./bench/engine                              everything, as tables: several minutes
  go run ./bench/engine --list                       the cases and their targets
  go run ./bench/engine --case '^784-100x3' --json   some cases, one JSON object a line
  go run ./bench/engine --json > all.jsonl           keep the figures, and
  go run ./bench/engine --from all.jsonl --markdown > docs/performance.md

NEOTENY_ISA=avx512|avx2|neon|generic forces an instruction set on the engine.

Flags:
`

// options are the command line.
type options struct {
	cases    string
	json     bool
	markdown bool
	list     bool
	from     string
	measure  measureOptions
	child    bool
}

// measureOptions say how to measure.
type measureOptions struct {
	rounds  int
	seconds float64
	clock   string // "wall" or "cpu"
	peer    bool
	python  string
	cc      string
	data    string
}

func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	var peer string
	f := flag.NewFlagSet("bench/engine", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		fmt.Fprint(out, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.cases, "case", "", "measure only cases whose name matches this `regexp`")
	f.BoolVar(&o.json, "json", false, "print one JSON object a line instead of tables")
	f.BoolVar(&o.markdown, "markdown", false, "print the tables as docs/performance.md")
	f.BoolVar(&o.list, "list", false, "list cases and targets, measure nothing")
	f.StringVar(&o.from, "from", "", "measure nothing, take the figures from a `file` that --json has written")
	f.IntVar(&o.measure.rounds, "rounds", 5, "rounds; figures are their medians")
	f.Float64Var(&o.measure.seconds, "seconds", 0.5, "seconds of each contestant in each round; kernels take a fifth")
	f.StringVar(&o.measure.clock, "clock", "wall", "time by the clock on the wall, or by the cpu's, which a busy machine disturbs less")
	f.StringVar(&peer, "peer", "python", "python, or none to measure without PyTorch")
	f.StringVar(&o.measure.python, "python", "/usr/bin/python3", "the Python that has PyTorch")
	f.StringVar(&o.measure.cc, "cc", "cc", "the C compiler")
	f.StringVar(&o.measure.data, "data", "", "`folder` of the datasets (default: neoteny/data in the user's cache folder)")
	f.BoolVar(&o.child, "child", false, "be the measured process: requests on stdin, answers on stdout")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case peer != "python" && peer != "none":
		return o, fmt.Errorf("--peer must be python or none, is %q", peer)
	case o.measure.clock != "wall" && o.measure.clock != "cpu":
		return o, fmt.Errorf("--clock must be wall or cpu, is %q", o.measure.clock)
	case o.measure.rounds < 1 || o.measure.seconds <= 0:
		return o, errors.New("--rounds and --seconds must be positive")
	case o.json && o.markdown:
		return o, errors.New("--json and --markdown exclude each other")
	}
	o.measure.peer = peer == "python"
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/engine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if o.child {
		return serve(stdin, stdout)
	}
	filter, err := regexp.Compile(o.cases)
	if err != nil {
		return fmt.Errorf("--case: %w", err)
	}
	chosen := choose(allCases(), filter)
	if len(chosen) == 0 {
		return fmt.Errorf("no case matches %q; --list names them", o.cases)
	}
	if o.list {
		return listCases(stdout, chosen)
	}
	rep := newReporter(o, stdout)
	if o.from != "" {
		if err := rep.read(o.from, filter); err != nil {
			return err
		}
		return rep.close()
	}
	if err := measureAll(ctx, chosen, o.measure, rep, stderr); err != nil {
		return err
	}
	return rep.close()
}
