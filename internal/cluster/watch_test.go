package cluster

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

// image is the state that the changes of a watch add up to.
type image struct {
	mu    sync.Mutex
	keys  map[string]string
	rev   int64
	calls int
	dup   []string
}

func (m *image) apply(rev int64, events []event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	m.rev = rev
	for _, e := range events {
		if e.deleted {
			if _, ok := m.keys[e.key]; !ok {
				m.dup = append(m.dup, "deletion of "+e.key)
			}
			delete(m.keys, e.key)
			continue
		}
		if m.keys[e.key] == fmt.Sprint(e.mod, string(e.value)) {
			m.dup = append(m.dup, e.key)
		}
		m.keys[e.key] = fmt.Sprint(e.mod, string(e.value))
	}
}

func (m *image) snapshot() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.keys)
}

// truth reads everything under a prefix.
func truth(t require.TestingT, c *Client, prefix string) map[string]string {
	_, events, err := c.list(context.Background(), prefix)
	require.NoError(t, err)
	out := map[string]string{}
	for _, e := range events {
		out[e.key] = fmt.Sprint(e.mod, string(e.value))
	}
	return out
}

func watchInto(t *testing.T, c *Client, prefix string) *image {
	m := &image{keys: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watchPrefix(ctx, prefix, m.apply)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

func TestWatchSurvivesCompactionAndTellsDeletions(t *testing.T) {
	gt := newGate(t)
	prefix := freshPrefix()
	direct := dial(t, t.Cleanup, Options{Prefix: prefix, PageSize: 3})
	ctx := t.Context()
	put := func(k, v string) {
		_, err := direct.kv.Put(ctx, k, v)
		require.NoError(t, err)
	}
	for i := range 10 {
		put(fmt.Sprintf("a/%d", i), "old")
	}
	put("b/0", "elsewhere")
	c := dial(t, t.Cleanup, Options{Prefix: prefix, PageSize: 3}, gt.endpoint())
	m := watchInto(t, c, "a/")
	require.Eventually(t, func() bool { return len(m.snapshot()) == 10 }, limit, poll, "pages")
	put("a/0", "new")
	require.Eventually(t, func() bool { return maps.Equal(m.snapshot(), truth(t, direct, "a/")) }, limit, poll, "events")

	// While the watch is cut off, keys go and change and come, and the history
	// of that is compacted.
	gt.close()
	_, err := direct.kv.Delete(ctx, "a/1")
	require.NoError(t, err)
	_, err = direct.kv.Delete(ctx, "a/2")
	require.NoError(t, err)
	put("a/2", "again")
	put("a/3", "changed")
	put("a/new", "born")
	rev, err := direct.Revision(ctx)
	require.NoError(t, err)
	_, err = direct.etcd.Compact(ctx, rev)
	require.NoError(t, err)
	gt.open()
	require.Eventually(t, func() bool { return maps.Equal(m.snapshot(), truth(t, direct, "a/")) }, limit, poll, "after compaction")
	put("a/last", "x")
	require.Eventually(t, func() bool { return maps.Equal(m.snapshot(), truth(t, direct, "a/")) }, limit, poll, "going on")
	require.Empty(t, m.dup, "reported twice")
}

func TestWatchResumesAfterACut(t *testing.T) {
	gt := newGate(t)
	prefix := freshPrefix()
	direct := dial(t, t.Cleanup, Options{Prefix: prefix})
	c := dial(t, t.Cleanup, Options{Prefix: prefix}, gt.endpoint())
	m := watchInto(t, c, "")
	for i := range 5 {
		_, err := direct.kv.Put(t.Context(), fmt.Sprint("k/", i), "v")
		require.NoError(t, err)
		gt.close()
		_, err = direct.kv.Delete(t.Context(), fmt.Sprint("k/", i))
		require.NoError(t, err)
		_, err = direct.kv.Put(t.Context(), fmt.Sprint("l/", i), "v")
		require.NoError(t, err)
		gt.open()
		require.Eventually(t, func() bool { return maps.Equal(m.snapshot(), truth(t, direct, "")) }, limit, poll, "cut %d", i)
	}
	require.Empty(t, m.dup)
}

func TestWatchMissesNothingBetweenListAndWatch(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	kv := c.kv
	c.kv = &racyKV{KV: kv, race: func() { _, _ = kv.Put(t.Context(), "k", "v") }}
	m := watchInto(t, c, "")
	require.Eventually(t, func() bool { return m.snapshot()["k"] != "" }, limit, poll)
}

func TestWatchListsAnewNowAndThen(t *testing.T) {
	c := dial(t, t.Cleanup, Options{Resync: time.Millisecond})
	m := watchInto(t, c, "")
	require.Eventually(t, func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.calls > 5 }, limit, poll)
	_, err := c.kv.Put(t.Context(), "k", "v")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return maps.Equal(m.snapshot(), truth(t, c, "")) }, limit, poll)
	require.Empty(t, m.dup)
}

// Whatever happens to the keys, a diff of two lists leads from one to the other.
func TestDiffLeadsFromListToList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.MapOf(rapid.StringMatching(`[a-e]`), rapid.Int64Range(1, 3))
		old, now := gen.Draw(t, "old"), gen.Draw(t, "now")
		known := maps.Clone(old)
		var list []event
		for k, mod := range now {
			list = append(list, event{key: k, mod: mod})
		}
		got := maps.Clone(old)
		for _, e := range diff(known, list, 9) {
			if e.deleted {
				require.Contains(t, got, e.key)
				delete(got, e.key)
			} else {
				require.NotEqual(t, got[e.key], e.mod)
				got[e.key] = e.mod
			}
		}
		require.Equal(t, now, got)
		require.Equal(t, now, known)
	})
}

func TestChangesAreDecoded(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	kinds := map[Kind]int{}
	watching, done := make(chan struct{}), make(chan struct{})
	listed := sync.OnceFunc(func() { close(watching) })
	go func() {
		defer close(done)
		c.Watch(ctx, func(_ int64, changes []Change) {
			listed()
			mu.Lock()
			defer mu.Unlock()
			for _, ch := range changes {
				if ch.Deleted {
					kinds[-ch.Kind]++
				} else {
					kinds[ch.Kind]++
				}
			}
		})
	}()
	<-watching // a list has the last version of a record only, a watch has every one
	rec, g := seed(t, c)
	reg, err := c.Register(ctx, &pb.Worker{Id: "w"}, time.Minute)
	require.NoError(t, err)
	cur, rev := c.segment(t, g.Ref)
	_, err = c.Assign(ctx, cur, rev.Mod, c.holder(t, "w"), time.Now())
	require.NoError(t, err)
	_, err = c.SetDesired(ctx, rec.Id, pb.Desired_DESIRED_CANCEL, time.Now())
	require.NoError(t, err)
	// A broken record does not stop the others.
	_, err = c.kv.Put(ctx, pfxRun+"a/b/0", "\xff\xff")
	require.NoError(t, err)
	_, err = c.kv.Put(ctx, pfxSegment+"nonsense", "")
	require.NoError(t, err)
	require.NoError(t, reg.Close(ctx))
	_, err = c.DeleteExperiment(ctx, rec, modOf(t, c, pfxExp+rec.Id))
	require.NoError(t, err)
	want := map[Kind]int{
		KindExperiment: 1, KindControl: 1, KindTrial: 1, KindRun: 1, KindSegment: 2, KindWorker: 1, KindAssignment: 1,
		-KindExperiment: 1, -KindControl: 1, -KindTrial: 1, -KindRun: 1, -KindSegment: 1, -KindWorker: 1, -KindAssignment: 1,
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return maps.Equal(want, kinds) }, limit, poll)
	cancel()
	<-done
}
