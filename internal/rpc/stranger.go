package rpc

import (
	"context"
	"net"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// strangers keeps a client from staying with a server that does not speak gRPC.
//
// Behind one address there may be different servers at different times: while a
// Kubernetes service has no endpoints, a gateway or proxy on the way may accept
// the connection and answer every call with an HTTP page. gRPC takes that for
// the answer of a call and keeps the connection, since HTTP/2 is in order, so
// the client would speak to the gateway for ever. Such an answer closes the
// connections instead, and counts as UNAVAILABLE: the next call dials again.
type strangers struct {
	mu    sync.Mutex
	conns map[*knownConn]struct{}
}

type knownConn struct {
	net.Conn
	of *strangers
}

// Close implements [net.Conn].
func (c *knownConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// dial is what gRPC dials with by itself, and remembers.
func (s *strangers) dial(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	for _, scheme := range []string{"unix", "unix-abstract"} {
		if path, ok := strings.CutPrefix(addr, scheme+":"); ok {
			network, addr = "unix", strings.TrimPrefix(path, "//")
			if scheme == "unix-abstract" {
				addr = "@" + addr
			}
			break
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &knownConn{Conn: conn, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*knownConn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return c, nil
}

// check returns err, or what it means when a stranger gave it.
func (s *strangers) check(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok || !foreign(st.Message()) {
		return err
	}
	s.mu.Lock()
	conns := make([]*knownConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	return status.Error(codes.Unavailable, "the answer is not of a gRPC server: "+st.Message())
}

// foreign decides by the text that grpc-go has for responses without gRPC's headers; it has
// no other mark.
func foreign(msg string) bool {
	return strings.Contains(msg, "unexpected HTTP status code received from server") ||
		strings.Contains(msg, "malformed header: missing HTTP content-type") ||
		strings.Contains(msg, "received unexpected content-type")
}

func (s *strangers) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return s.check(invoke(ctx, method, req, reply, cc, opts...))
}

func (s *strangers) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cs, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, s.check(err)
	}
	return &heardStream{ClientStream: cs, of: s}, nil
}

type heardStream struct {
	grpc.ClientStream
	of *strangers
}

// RecvMsg implements [grpc.ClientStream].
func (s *heardStream) RecvMsg(m any) error { return s.of.check(s.ClientStream.RecvMsg(m)) }
