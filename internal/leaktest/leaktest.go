// Package leaktest checks that tests leave no goroutines behind.
//
// goleak gives goroutines half a second to end. That is not enough for etcd on a
// busy machine: the Close of a server does not wait for its compactor, nor for the
// rollback of the last read transaction, which end when they get the processor.
// Here a goroutine is a leak if it is still there after several times that.
package leaktest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// tries is how often goleak looks, each time for its half second.
const tries = 40

// Find returns an error that names the goroutines that do not end.
func Find(opts ...goleak.Option) error {
	return patient(func() error { return goleak.Find(opts...) })
}

func patient(look func() error) error {
	err := look()
	for i := 1; i < tries && err != nil; i++ {
		err = look()
	}
	return err
}

// Main runs the tests of a package and exits: with 1 where they pass and leave
// goroutines behind.
func Main(m *testing.M, opts ...goleak.Option) {
	os.Exit(Exit(m.Run(), opts...))
}

// Exit is the code for a test program to end with, code or 1 for leaks.
func Exit(code int, opts ...goleak.Option) int {
	if code != 0 {
		return code
	}
	if err := Find(opts...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
