// Package app is what every command of neoteny has: the streams that it reads and
// writes, flags that several share, errors as people read them, and the registry of
// commands. Results go to standard output, progress and logs to standard error.
package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	"neoteny/cmd/neoteny/internal/cli/results"
)

// Exit codes of the program.
const (
	ExitOK          = 0
	ExitError       = 1   // something failed, or a run of the experiment did
	ExitUsage       = 2   // the command line is wrong
	ExitClaims      = 3   // a claim did not hold
	ExitInterrupted = 130 // stopped by Ctrl-C
	ExitPipe        = 141 // standard output is a closed pipe
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

// App is what commands run with.
type App struct {
	Streams
	Args     []string
	Level    string // as given
	Format   string
	Progress *LogWriter // standard error, shared with the progress
}

// Signals returns a context that ends at the first SIGINT or SIGTERM; a second
// one ends the process. Writing to a closed pipe is an error like
// any other: it does not end the process in the middle of its work.
func (a *App) Signals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE)
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
				os.Exit(ExitInterrupted)
			}
			cancel(ErrInterrupted)
			if a.Format == "json" { // for machines: no line of another kind
				a.Logger(slog.LevelInfo).Info("stopping")
				continue
			}
			msg := "stopping; once more to stop at once\n"
			if a.Terminal {
				msg = "\r" + msg // over the ^C that the terminal has echoed
			}
			fmt.Fprint(a.Progress, msg)
		}
	})
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		wg.Wait()
		cancel(nil)
	}
}

// Logger makes the logger of a command; usual is its level unless the user
// gave another.
func (a *App) Logger(usual slog.Level) *slog.Logger {
	level := usual
	if a.Level != "" {
		// The enum of the flag holds exactly what this understands.
		_ = level.UnmarshalText([]byte(a.Level))
	}
	opts := &slog.HandlerOptions{Level: level}
	if a.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.Progress, opts))
	}
	return slog.New(slog.NewTextHandler(a.Progress, opts))
}

// LogWriter writes lines to standard error, by way of the progress while there
// is one, so that neither tears the other.
type LogWriter struct {
	mu  sync.Mutex
	Out io.Writer
	via io.Writer
}

func (w *LogWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.via != nil {
		return w.via.Write(p)
	}
	return w.Out.Write(p)
}

func (w *LogWriter) Through(via io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.via = via
}

// Output is the flag of commands that print tables.
type Output struct {
	Output string `short:"o" help:"Print a table or json." enum:"table,json" default:"table"`
}

func (o Output) JSON() bool { return o.Output == "json" }

// Report writes an error to standard error, a line for each mistake, without
// what only machines want to know.
func (a *App) Report(err error) {
	for line := range strings.Lines(Sentence(err)) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			fmt.Fprintf(a.Progress, "neoteny: %s\n", line)
		}
	}
}

// PrintJSON prints a value as indented JSON.
func (a *App) PrintJSON(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// PrintMessage prints a message of the API as JSON in the style of all commands.
func (a *App) PrintMessage(m proto.Message) error { return a.PrintJSON(results.Plain(m)) }

// PrintRequest prints a message of the API as protojson, which grpcurl sends.
func (a *App) PrintRequest(m proto.Message) error {
	b, err := results.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", b)
	return err
}
