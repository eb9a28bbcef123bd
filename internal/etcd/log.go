package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// fault remembers why etcd gave up.
type fault struct {
	failed chan struct{}

	mu      sync.Mutex
	last    string // last error that etcd logged
	cause   error
	closing bool // closed sockets are what was asked for
}

func newFault() *fault { return &fault{failed: make(chan struct{})} }

// OnWrite is what zap runs after a panic or fatal message instead of ending
// the process: an embedded server must not take the program down with it.
func (f *fault) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.mu.Lock()
	if f.cause == nil {
		f.cause = errors.New(describe(e.Message, fields))
		close(f.failed)
	}
	f.mu.Unlock()
	runtime.Goexit()
}

func (f *fault) note(msg string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = msg
}

func (f *fault) quiet() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
}

func (f *fault) isQuiet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closing
}

func (f *fault) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// explain adds what etcd logged to an error that says less.
func (f *fault) explain(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.cause != nil && strings.Contains(f.cause.Error(), syscall.ENOMEM.Error()):
		return fmt.Errorf("%w: %w: its database needs about 130 MiB of address space: is that limited (ulimit -v)?", err, f.cause)
	case f.cause != nil:
		return fmt.Errorf("%w: %w", err, f.cause)
	case f.last != "" && !strings.Contains(f.last, err.Error()):
		return fmt.Errorf("%w (last from etcd: %s)", err, f.last)
	}
	return err
}

func describe(msg string, fields []zapcore.Field) string {
	for _, f := range fields {
		if f.Type == zapcore.ErrorType {
			if err, ok := f.Interface.(error); ok && err != nil {
				return msg + ": " + err.Error()
			}
		}
	}
	return msg
}

// newLogger makes the logger that etcd writes to: warnings and worse go to l.
func newLogger(l *slog.Logger, f *fault) *zap.Logger {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return zap.New(&core{log: l, fault: f}, zap.WithPanicHook(f), zap.WithFatalHook(f))
}

// core is a zapcore.Core that writes to slog.
type core struct {
	log   *slog.Logger
	fault *fault
	with  []zapcore.Field
}

func (c *core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log, fault: c.fault, with: append(c.with[:len(c.with):len(c.with)], fields...)}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// expected are warnings that say nothing to the user of an embedded server: a
// lone member without TLS, a first start before its first write, and on a busy
// machine an election before the member has read its own membership, which comes
// again a moment later. (The folder's permissions do not matter: etcd makes the
// one with the data 0700.)
var expected = []string{
	"cannot campaign at term",
	"check file permission",
	"Failed to detect schema version",
	"failed to update storage version",
	"Running http and grpc server on single port",
	"simple token is not cryptographically signed",
	"unable to set a member local address",
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if c.fault.isQuiet() && e.Level < zapcore.DPanicLevel {
		return nil
	}
	for _, s := range expected {
		if strings.Contains(e.Message, s) {
			return nil
		}
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
		c.fault.note(describe(e.Message, fields))
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.with[:len(c.with):len(c.with)], fields...) {
		f.AddTo(enc)
	}
	// The message is etcd's, so it is an attribute: ours stays constant.
	attrs := []slog.Attr{slog.String("message", e.Message)}
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	c.log.LogAttrs(context.Background(), level, "embedded etcd", attrs...)
	return nil
}

func (c *core) Sync() error { return nil }
