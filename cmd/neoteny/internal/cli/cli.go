// Package cli is the command line of neoteny: it parses flags and environment,
// puts the services together and shows people what they do. Results go to
// standard output, progress and logs to standard error. The packages below it
// hold what needs no services: tables and plots (render), progress, and the
// results folder (results).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/kernel"
)

// Exit codes of the program.
const (
	exitOK          = 0
	exitError       = 1   // something failed, or a run of the experiment did
	exitUsage       = 2   // the command line is wrong
	exitClaims      = 3   // a claim did not hold
	exitInterrupted = 130 // stopped by Ctrl-C
)

// Streams are what the program reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal: Err is a terminal, so progress may redraw itself.
	Terminal bool
}

// Standard returns the process's own streams.
func Standard() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb"}
}

type commands struct {
	Run        runCmd        `cmd:"" help:"Run an experiment on this machine and write its results."`
	Reproduce  reproduceCmd  `cmd:"" help:"Check a paper's claims: run its recipes and tell which held."`
	Verify     verifyCmd     `cmd:"" help:"Compute results again and compare them to the bit."`
	Papers     papersCmd     `cmd:"" help:"List the papers, their recipes and verdicts."`
	Submit     submitCmd     `cmd:"" help:"Submit an experiment to a cluster." group:"cluster"`
	Watch      watchCmd      `cmd:"" help:"Follow an experiment until it has ended." group:"cluster"`
	List       listCmd       `cmd:"" help:"List experiments." group:"cluster"`
	Get        getCmd        `cmd:"" help:"Show an experiment and its runs, or one run." group:"cluster"`
	Cancel     cancelCmd     `cmd:"" help:"Stop experiments; finished runs are kept." group:"cluster"`
	Delete     deleteCmd     `cmd:"" help:"Forget ended experiments and their results." group:"cluster"`
	Results    resultsCmd    `cmd:"" help:"Show or save the results of an experiment." group:"cluster"`
	Up         upCmd         `cmd:"" help:"Run a whole cluster in this process, until stopped." group:"services"`
	Coord      coordinatorCm `cmd:"" name:"coordinator" help:"Run the coordinator." group:"services"`
	Worker     workerCmd     `cmd:"" help:"Run a worker." group:"services"`
	Metrics    metricsCmd    `cmd:"" help:"Run the metrics service." group:"services"`
	Components componentsCmd `cmd:"" help:"Describe streams, networks, methods, probes and their parameters." group:"reference"`
	Data       dataCmd       `cmd:"" help:"List, import and verify datasets." group:"reference"`
	Health     healthCmd     `cmd:"" help:"Ask a service whether it is ready." group:"services"`
	Version    versionCmd    `cmd:"" help:"Show the version." group:"reference"`

	LogLevel  string `help:"Least level of log lines: debug, info, warn or error. Default: info for services, warn for others." enum:",debug,info,warn,error" default:"" placeholder:"LEVEL"`
	LogFormat string `help:"Log lines as text or json." enum:"text,json" default:"text"`
}

const description = `neoteny runs continual-learning experiments: reproducible to the bit, resumable anywhere, every step measured.

  neoteny run recipes/quickstart.yaml                 an experiment, on this machine
  neoteny reproduce PAPER_ID --quick                  a paper's claims, checked
  neoteny submit FILE --coordinator HOST:7070         on a cluster
  neoteny components                                  what experiments are made of

Every flag can be given in the environment, as NEOTENY_ and its name: NEOTENY_COORDINATOR=HOST:7070.
Exit codes: 0 done, 1 an error or failed runs, 2 a wrong command line, 3 a claim did not hold (reproduce), 130 stopped by Ctrl-C.`

// app is what commands run with.
type app struct {
	Streams
	args     []string
	level    string // as given
	format   string
	progress *logWriter // standard error, shared with the progress
}

// Main runs the program with the given arguments and returns its exit code.
func Main(args []string, s Streams) (code int) {
	defer func() { // kong ends the program through kong.Exit after --help
		if r := recover(); r != nil {
			c, ok := r.(exitCode)
			if !ok {
				panic(r)
			}
			code = int(c)
		}
	}()
	var c commands
	a := &app{Streams: s, args: args, progress: &logWriter{out: s.Err}}
	parser, err := kong.New(&c,
		kong.Name("neoteny"), kong.Description(description),
		kong.Writers(s.Out, s.Err),
		kong.DefaultEnvars("NEOTENY"),
		kong.Exit(func(code int) { panic(exitCode(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "cluster", Title: "Work with a cluster:"},
			{Key: "services", Title: "Services:"},
			{Key: "reference", Title: "Reference:"},
		}),
	)
	if err != nil {
		panic(err) // the commands above are wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(s.Err, "neoteny: %s\n", err)
		fmt.Fprintf(s.Err, "neoteny: `%s --help` tells what there is\n", usageOf(err))
		return exitUsage
	}
	a.level, a.format = c.LogLevel, c.LogFormat

	ctx, stop := a.signals()
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	err = k.Run(a)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(*claimsError)):
		a.report(err)
		return exitClaims
	case errors.As(err, new(*usageError)):
		a.report(err)
		return exitUsage
	case errors.Is(err, errInterrupted) || errors.Is(context.Cause(ctx), errInterrupted) && isCancelled(err):
		if !errors.Is(err, errInterrupted) {
			err = errInterrupted
		}
		a.report(err)
		return exitInterrupted
	}
	a.report(err)
	return exitError
}

type exitCode int

func usageOf(err error) string {
	if pe := (*kong.ParseError)(nil); errors.As(err, &pe) && pe.Context != nil {
		if node := pe.Context.Selected(); node != nil {
			return "neoteny " + strings.TrimSpace(node.Path())
		}
	}
	return "neoteny"
}

// signals returns a context that ends at the first SIGINT or SIGTERM; a second
// one ends the process.
func (a *app) signals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-ch:
			}
			if n > 0 {
				os.Exit(exitInterrupted)
			}
			cancel(errInterrupted)
			if a.format == "json" { // for machines: no line of another kind
				a.logger(slog.LevelInfo).Info("stopping")
				continue
			}
			msg := "stopping; once more to stop at once\n"
			if a.Terminal {
				msg = "\r" + msg // over the ^C that the terminal has echoed
			}
			fmt.Fprint(a.progress, msg)
		}
	})
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		wg.Wait()
		cancel(nil)
	}
}

// logger makes the logger of a command; usual is its level unless the user
// gave another.
func (a *app) logger(usual slog.Level) *slog.Logger {
	level := usual
	if a.level != "" {
		// The enum of the flag holds exactly what this understands.
		_ = level.UnmarshalText([]byte(a.level))
	}
	opts := &slog.HandlerOptions{Level: level}
	if a.format == "json" {
		return slog.New(slog.NewJSONHandler(a.progress, opts))
	}
	return slog.New(slog.NewTextHandler(a.progress, opts))
}

// logWriter writes lines to standard error, by way of the progress while there
// is one, so that neither tears the other.
type logWriter struct {
	mu  sync.Mutex
	out io.Writer
	via io.Writer
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.via != nil {
		return w.via.Write(p)
	}
	return w.out.Write(p)
}

func (w *logWriter) through(via io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.via = via
}

// output is the flag of commands that print tables.
type output struct {
	Output string `short:"o" help:"Print a table or json." enum:"table,json" default:"table"`
}

func (o output) json() bool { return o.Output == "json" }

type versionCmd struct {
	output
}

func (versionCmd) Help() string {
	return `Shows the program's version, the numerics version (results of equal numerics versions are equal to the bit; workers only take work of their own), and what it was built with.

  neoteny version
  neoteny version -o json`
}

func (c *versionCmd) Run(a *app) error {
	v := struct {
		Version         string `json:"version"`
		Revision        string `json:"revision,omitempty"`
		NumericsVersion int    `json:"numerics_version"`
		ISA             string `json:"isa"`
		Go              string `json:"go"`
		Platform        string `json:"platform"`
	}{programVersion(), revision(), engine.NumericsVersion, isa(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if c.json() {
		return a.printJSON(v)
	}
	fmt.Fprintf(a.Out, "neoteny %s\n", v.Version)
	if v.Revision != "" {
		fmt.Fprintf(a.Out, "revision %s\n", v.Revision)
	}
	fmt.Fprintf(a.Out, "numerics %d\nisa %s\n%s %s\n", v.NumericsVersion, v.ISA, v.Go, v.Platform)
	return nil
}

// programVersion is the module's version; "devel" where it was built from a
// work tree.
func programVersion() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return "devel"
}

func revision() string {
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

// isa names the instruction set that the kernels use.
func isa() string { return kernel.Active().String() }
