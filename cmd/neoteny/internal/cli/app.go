package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"neoteny/cmd/neoteny/internal/cli/results"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
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

// app is what commands run with.
type app struct {
	Streams
	args     []string
	level    string // as given
	format   string
	progress *logWriter // standard error, shared with the progress
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

// report writes an error to standard error, a line for each mistake, without
// what only machines want to know.
func (a *app) report(err error) {
	for line := range strings.Lines(sentence(err)) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			fmt.Fprintf(a.progress, "neoteny: %s\n", line)
		}
	}
}

// printJSON prints a value as indented JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printMessage prints a message of the API as JSON that grpcurl reads.
func (a *app) printMessage(m proto.Message) error {
	b, err := results.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", b)
	return err
}
