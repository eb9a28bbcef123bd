// Package cli is the command line of neoteny: it parses arguments and environment, and
// runs the command that they name. Commands are in the packages below, a file each:
// local (run), reproduction, cluster, services and reference. What they share is in
// app; wiring puts services together; render, progress and results show what came of
// it and need no service.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"neoteny/cmd/neoteny/internal/cli/app"
	_ "neoteny/cmd/neoteny/internal/cli/cluster"
	_ "neoteny/cmd/neoteny/internal/cli/local"
	_ "neoteny/cmd/neoteny/internal/cli/reference"
	_ "neoteny/cmd/neoteny/internal/cli/reproduction"
	_ "neoteny/cmd/neoteny/internal/cli/services"
)

// globals are the flags of all commands.
type globals struct {
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

// Main runs the program with the given arguments and returns its exit code.
func Main(args []string, s app.Streams) (code int) {
	defer func() { // kong ends the program through kong.Exit after --help
		if r := recover(); r != nil {
			c, ok := r.(exitCode)
			if !ok {
				panic(r)
			}
			code = int(c)
		}
	}()
	var c globals
	a := &app.App{Streams: s, Args: args, Progress: &app.LogWriter{Out: s.Err}}
	options := []kong.Option{
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
	}
	for _, one := range app.Commands() {
		options = append(options, kong.DynamicCommand(one.Name, one.Help, string(one.Group), one.New()))
	}
	parser, err := kong.New(&c, options...)
	if err != nil {
		panic(err) // the tags of a command are wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(s.Err, "neoteny: %s\n", err)
		fmt.Fprintf(s.Err, "neoteny: `%s --help` lists what there is\n", usageOf(err))
		return app.ExitUsage
	}
	a.Level, a.Format = c.LogLevel, c.LogFormat

	ctx, stop := a.Signals()
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	err = k.Run(a)
	switch {
	case err == nil:
		return app.ExitOK
	case app.ClosedPipe(err):
		return app.ExitPipe
	case errors.As(err, new(*app.ClaimsError)):
		a.Report(err)
		return app.ExitClaims
	case errors.As(err, new(*app.UsageError)):
		a.Report(err)
		return app.ExitUsage
	case errors.Is(err, app.ErrInterrupted) || errors.Is(context.Cause(ctx), app.ErrInterrupted) && app.IsCancelled(err):
		if !errors.Is(err, app.ErrInterrupted) {
			err = app.ErrInterrupted
		}
		a.Report(err)
		return app.ExitInterrupted
	}
	a.Report(err)
	return app.ExitError
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
