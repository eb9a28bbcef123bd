package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/rpc"
)

// ErrInterrupted ends a command that Ctrl-C or SIGTERM stopped.
var ErrInterrupted = errors.New("interrupted")

// GoesOn says of a command that Ctrl-C stopped while it followed an experiment that the
// experiment has not stopped, and how to follow it again.
func (f CoordinatorFlag) GoesOn(err error, id string) error {
	if !errors.Is(err, ErrInterrupted) {
		return err
	}
	at := id
	if f.Coordinator != defaultCoordinator {
		at += " --coordinator " + f.Coordinator
	}
	return fmt.Errorf("%w: %s goes on; follow it with `neoteny watch %s`, stop it with `neoteny cancel %s`",
		ErrInterrupted, id, at, at)
}

// ClosedPipe reports whether an error says that standard output is a closed pipe, as
// of `neoteny … | head`.
func ClosedPipe(err error) bool {
	pe, ok := errors.AsType[*fs.PathError](err)
	return ok && pe.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE)
}

// UsageError is a mistake in the command line that kong cannot see.
type UsageError struct{ msg string }

func (e *UsageError) Error() string { return e.msg }

func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// fileError is what a server said about a file.
type fileError struct {
	file string
	err  error
}

func (e *fileError) Error() string { return e.file + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// InFile names the file in what a server has said about it.
func InFile(file string, err error) error { return &fileError{file, err} }

// Sentence says an error in plain words: what a gRPC status carries in place of
// the status, field by field.
func Sentence(err error) string {
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

// IsCancelled reports whether err is but the echo of a context's end.
func IsCancelled(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	var st grpcError
	return errors.As(err, &st) && st.GRPCStatus().Code() == codes.Canceled
}

// ClaimsError ends a command whose claims did not all hold.
type ClaimsError struct{ summary string }

func (e *ClaimsError) Error() string { return e.summary }

// ErrClaims is the error of claims that did not all hold; summary counts them.
func ErrClaims(summary string) error { return &ClaimsError{summary} }
