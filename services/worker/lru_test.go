package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLRU(t *testing.T) {
	l := newLRU[string, int](2, 100)
	l.put("a", 1, 40)
	l.put("b", 2, 40)
	_, ok := l.get("a") // used last
	require.True(t, ok)
	l.put("c", 3, 40)
	_, ok = l.get("b")
	require.False(t, ok, "over the bytes, and used the longest ago")
	l.put("d", 4, 101)
	_, ok = l.get("d")
	require.False(t, ok, "larger than the whole")
	l.put("a", 5, 10)
	v, ok := l.take("a")
	require.True(t, ok)
	require.Equal(t, 5, v)
	_, ok = l.take("a")
	require.False(t, ok)
	l.clear()
	require.Zero(t, l.bytes)
	none := newLRU[string, int](2, -1)
	none.put("a", 1, 0)
	_, ok = none.get("a")
	require.False(t, ok)
}
