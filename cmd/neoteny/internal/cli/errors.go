package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/internal/rpc"
)

// errInterrupted ends a command that Ctrl-C or SIGTERM stopped.
var errInterrupted = errors.New("interrupted")

// usageError is a mistake in the command line that kong cannot see.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// fileError is what a server said about a file.
type fileError struct {
	file string
	err  error
}

func (e *fileError) Error() string { return e.file + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// report writes an error to standard error, a line for each mistake, without
// what only machines want to know.
func (a *app) report(err error) {
	for line := range strings.Lines(sentence(err)) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			fmt.Fprintf(a.progress, "neoteny: %s\n", line)
		}
	}
}

// sentence says an error in plain words: what a gRPC status carries in place of
// the status, field by field.
func sentence(err error) string {
	file := ""
	if fe := (*fileError)(nil); errors.As(err, &fe) {
		file, err = fe.file+": ", fe.err
	}
	text := err.Error()
	var st grpcError
	if errors.As(err, &st) {
		said := rpc.Describe(st)
		if len(rpc.FieldViolations(st)) > 0 {
			text = said // every line names its field; what was called is no news
		} else {
			text = strings.Replace(text, st.Error(), said, 1)
		}
	}
	if file == "" {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = file + l
	}
	return strings.Join(lines, "\n")
}

type grpcError interface {
	error
	GRPCStatus() *status.Status
}

// isCancelled reports whether err is but the echo of a context's end.
func isCancelled(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	var st grpcError
	return errors.As(err, &st) && st.GRPCStatus().Code() == codes.Canceled
}

// listen opens a TCP port. A busy one is an error that says how to mend it, or
// with elsewhere any free port of the same host is taken.
func listen(address, flag string, elsewhere bool) (net.Listener, error) {
	lis, err := net.Listen("tcp", address)
	if err == nil {
		return lis, nil
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("listen on %s: %w; give another address with %s", address, err, flag)
	}
	if !elsewhere {
		return nil, fmt.Errorf("port in use: another program listens on %s; stop it or give another address with %s", address, flag)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if lis, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, fmt.Errorf("listen on a free port of %s: %w", host, err)
	}
	return lis, nil
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
