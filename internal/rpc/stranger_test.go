package rpc

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "neoteny/proto/neoteny/v1"
)

// TestServerAfterStranger: a page of some gateway is no answer, and does not keep
// the client from the server that comes to the same address later.
func TestServerAfterStranger(t *testing.T) {
	for name, page := range map[string]http.HandlerFunc{
		"404 with no type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			w.WriteHeader(http.StatusNotFound)
		},
		"404 in HTML": http.NotFound,
		"200 in HTML": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<h1>welcome</h1>"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addr := l.Addr().String()
			var h2c http.Protocols
			h2c.SetUnencryptedHTTP2(true)
			gateway := &http.Server{Handler: page, Protocols: &h2c, ReadHeaderTimeout: time.Minute}
			go func() { _ = gateway.Serve(l) }()

			conn, err := Dial(addr)
			require.NoError(t, err)
			defer conn.Close()
			ctx := t.Context()
			unary := func() error {
				_, err := pb.NewExperimentServiceClient(conn).DeleteExperiment(ctx, &pb.DeleteExperimentRequest{})
				return err
			}
			stream := func() error {
				s, err := pb.NewMetricsServiceClient(conn).ReportMetrics(ctx)
				if err != nil {
					return err
				}
				defer func() { _ = s.CloseSend() }()
				// Where the answer is there already, Send returns io.EOF and Recv the reason.
				if err := s.Send(&pb.ReportMetricsRequest{}); err != nil && !errors.Is(err, io.EOF) {
					return err
				}
				_, err = s.Recv()
				return err
			}
			for _, call := range []func() error{unary, stream} {
				err := call()
				require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
				require.ErrorContains(t, err, "at "+addr)
				require.ErrorContains(t, err, "not of a gRPC server")
			}

			// The gateway keeps the connections it has: only its listener goes.
			require.NoError(t, l.Close())
			l, err = net.Listen("tcp", addr)
			require.NoError(t, err)
			server := grpc.NewServer()
			pb.RegisterExperimentServiceServer(server, &experiments{})
			pb.RegisterMetricsServiceServer(server, metrics{})
			go func() { _ = server.Serve(l) }()
			defer server.Stop()
			require.Eventually(t, func() bool { return stream() == nil }, 30*time.Second, 10*time.Millisecond)
			require.Equal(t, codes.Unimplemented, status.Code(unary())) // the server's own word is kept
			require.NoError(t, gateway.Close())
		})
	}
}

func TestDialUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := grpc.NewServer()
	pb.RegisterMetricsServiceServer(server, metrics{})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	for _, target := range []string{"unix://" + path, "unix:" + path} {
		conn, err := Dial(target)
		require.NoError(t, err)
		s, err := pb.NewMetricsServiceClient(conn).ReportMetrics(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Send(&pb.ReportMetricsRequest{}))
		_, err = s.Recv()
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}
