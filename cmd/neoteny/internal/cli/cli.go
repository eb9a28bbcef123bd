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
	"strings"

	"github.com/alecthomas/kong"
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
	var c globals
	a := &app{Streams: s, args: args, progress: &logWriter{out: s.Err}}
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
	for _, one := range Commands() {
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
