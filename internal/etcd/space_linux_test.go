package etcd

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// addressSpace returns the address space of this process, in KiB.
func addressSpace(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	m := regexp.MustCompile(`VmSize:\s+(\d+) kB`).FindSubmatch(b)
	require.NotNil(t, m)
	n, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return n
}

// By its default etcd reserves 10 GiB, which a limit of the address space refuses.
func TestTakesLittleAddressSpace(t *testing.T) {
	before := addressSpace(t)
	s, err := Start(t.Context(), Config{Dir: t.TempDir(), Throwaway: true})
	require.NoError(t, err)
	defer s.Close()
	put(t, s, "k", "v")
	require.Less(t, addressSpace(t)-before, 1<<20)
}
