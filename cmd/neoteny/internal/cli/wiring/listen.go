package wiring

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Listen opens a TCP port. A busy one is an error that says how to fix it, or
// with elsewhere any free port of the same host is taken.
func Listen(address, flag string, elsewhere bool) (net.Listener, error) {
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

// reachable is the address of a listener as others may dial it: a listener on
// every interface is known by the host's name.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// local is the address of a listener as this machine may dial it.
func local(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}
