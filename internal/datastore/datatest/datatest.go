// Package datatest gives tests the real datasets.
package datatest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
)

// MNIST returns a source that has mnist, read once per test process. Where the default data folder lacks it, the
// go tool is asked for it, which needs nothing that building the tests did not need. It never skips: where
// MNIST cannot be had, the test fails and says why.
func MNIST(t testing.TB) data.Source {
	t.Helper()
	source, err := mnist()
	if err != nil {
		t.Fatalf("this test needs MNIST: %v", err)
	}
	return source
}

var mnist = sync.OnceValues(func() (data.Source, error) {
	dir, err := datastore.DefaultDir()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := datastore.Ensure(ctx, []string{"mnist"}, dir, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	return data.NewDir(dir), nil
})
