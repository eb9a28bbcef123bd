//go:build s3 || cloud

package blob

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that keeps objects is all of S3 that a store needs.
func TestS3(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
	var mu sync.Mutex
	objects := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method {
		case http.MethodPut:
			b, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			objects[r.URL.Path] = b
		case http.MethodGet, http.MethodHead:
			b, ok := objects[r.URL.Path]
			if !ok {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			_, _ = w.Write(b)
		case http.MethodDelete:
			delete(objects, r.URL.Path)
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer server.Close()
	b, err := Open(t.Context(), "s3://lab?region=us-east-1&use_path_style=true&endpoint="+server.URL)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	ref, err := b.Put(t.Context(), "checkpoints/a", []byte("weights"))
	require.NoError(t, err)
	require.Contains(t, objects, "/lab/checkpoints/a")
	got, err := b.Get(t.Context(), ref, 100)
	require.NoError(t, err)
	require.Equal(t, "weights", string(got))
	require.NotContains(t, ref.String(), "secret")
}
