package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// retries makes calls that may safely be made twice outlive a short absence of
// the server. Submit is one of them because its requests carry an id;
// DeleteExperiment is not, the second answer would be NOT_FOUND.
const retries = `{"methodConfig": [{
	"name": [
		{"service": "neoteny.v1.ExperimentService", "method": "SubmitExperiment"},
		{"service": "neoteny.v1.ExperimentService", "method": "ValidateExperiment"},
		{"service": "neoteny.v1.ExperimentService", "method": "GetExperiment"},
		{"service": "neoteny.v1.ExperimentService", "method": "ListExperiments"},
		{"service": "neoteny.v1.ExperimentService", "method": "CancelExperiment"},
		{"service": "neoteny.v1.ExperimentService", "method": "ListRuns"},
		{"service": "neoteny.v1.ExperimentService", "method": "GetRun"},
		{"service": "neoteny.v1.ExperimentService", "method": "ListComponents"}
	],
	"retryPolicy": {
		"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

// roles names the service that a method belongs to in the words of the user.
var roles = map[string]string{
	"neoteny.v1.ExperimentService": "coordinator",
	"neoteny.v1.MetricsService":    "metrics service",
	"grpc.health.v1.Health":        "service",
}

// Dial makes a connection to a server of the project at addr, host:port or any
// gRPC target. It does no I/O: the first call connects, and the connection is
// made again whenever it breaks. opts come after the project's own, so that a
// test can put its dialer in. Errors of calls say what could not be reached,
// see [Describe].
func Dial(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	others := &strangers{}
	conn, err := grpc.NewClient(addr, append([]grpc.DialOption{
		grpc.WithContextDialer(others.dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(retries),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return named(invoke(ctx, method, req, reply, cc, opts...), method, addr)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := streamer(ctx, desc, cc, method, opts...)
			if err != nil {
				return nil, named(err, method, addr)
			}
			return &namedStream{ClientStream: s, method: method, addr: addr}, nil
		}),
		grpc.WithChainUnaryInterceptor(others.unary),
		grpc.WithChainStreamInterceptor(others.stream),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}

// unreachable is an UNAVAILABLE status that knows who was called. It stays a
// status to all who ask for one.
type unreachable struct {
	role, addr string
	err        error
}

func (e *unreachable) Error() string {
	if why, ok := strings.CutPrefix(status.Convert(e.err).Message(), notReady); ok {
		return fmt.Sprintf("%s at %s is not ready: %s", e.role, e.addr, why) // it was reached
	}
	return fmt.Sprintf("cannot reach %s at %s: %s", e.role, e.addr, reason(status.Convert(e.err).Message()))
}
func (e *unreachable) Unwrap() error              { return e.err }
func (e *unreachable) GRPCStatus() *status.Status { return status.Convert(e.err) }

func named(err error, method, addr string) error {
	if err == nil || errors.Is(err, io.EOF) || status.Code(err) != codes.Unavailable {
		return err
	}
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	role, ok := roles[service]
	if !ok {
		role = service
	}
	return &unreachable{role: role, addr: addr, err: err}
}

type namedStream struct {
	grpc.ClientStream
	method, addr string
}

func (s *namedStream) RecvMsg(m any) error { return named(s.ClientStream.RecvMsg(m), s.method, s.addr) }
func (s *namedStream) SendMsg(m any) error { return named(s.ClientStream.SendMsg(m), s.method, s.addr) }

// reason takes the part of a transport's message that means something to people.
func reason(msg string) string {
	// The innermost of "…: rpc error: code = … desc = connection error: desc = …",
	// which is what retries leave.
	if i := strings.LastIndex(msg, "desc = "); i >= 0 {
		msg = msg[i+len("desc = "):]
	}
	msg = strings.TrimPrefix(strings.Trim(msg, `"`), "transport: ")
	msg = strings.TrimPrefix(msg, "Error while dialing: ")
	if msg == "" {
		return "no answer"
	}
	return msg
}

// Violation is a mistake in one field of a request.
type Violation struct {
	Field   string // path as in the experiment file; empty for the whole
	Problem string
}

// String returns "field: problem".
func (v Violation) String() string {
	if v.Field == "" {
		return v.Problem
	}
	return v.Field + ": " + v.Problem
}

// FieldViolations returns the field violations that the status inside err
// carries, in the server's order.
func FieldViolations(err error) []Violation {
	st, ok := status.FromError(err)
	if !ok || st == nil {
		return nil
	}
	var out []Violation
	for _, d := range st.Details() {
		if br, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range br.GetFieldViolations() {
				out = append(out, Violation{Field: v.GetField(), Problem: v.GetDescription()})
			}
		}
	}
	return out
}

// Describe says in plain words what a call came back with: a line "field:
// problem" for each field that the server refused, whom it could not reach, or
// the message without the dress of gRPC. Other errors are said as they are, nil
// as "".
func Describe(err error) string {
	if err == nil {
		return ""
	}
	if all := FieldViolations(err); len(all) > 0 {
		lines := make([]string, len(all))
		for i, v := range all {
			lines[i] = v.String()
		}
		return strings.Join(lines, "\n")
	}
	if e, ok := errors.AsType[*unreachable](err); ok {
		return e.Error()
	}
	st, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	switch st.Code() {
	case codes.Canceled:
		return "cancelled"
	case codes.DeadlineExceeded:
		return "no answer in time"
	case codes.Unimplemented:
		return "the server does not know this call; it may be of another version (" + st.Message() + ")"
	}
	if st.Message() == "" {
		return st.Code().String()
	}
	return st.Message()
}
