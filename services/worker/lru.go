package worker

import (
	"container/list"
	"sync"
)

// lru keeps the values used last, within a number and a sum of bytes (0: only
// the number counts; negative: nothing is kept).
type lru[K comparable, V any] struct {
	mu       sync.Mutex
	max      int
	maxBytes int64
	bytes    int64
	order    *list.List // of *lruEntry, the one used last in front
	byKey    map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	bytes int64
}

func newLRU[K comparable, V any](max int, maxBytes int64) *lru[K, V] {
	return &lru[K, V]{max: max, maxBytes: maxBytes, order: list.New(), byKey: map[K]*list.Element{}}
}

// put keeps a value in place of the one under its key.
func (l *lru[K, V]) put(key K, value V, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(l.byKey[key])
	if l.maxBytes < 0 || l.maxBytes > 0 && bytes > l.maxBytes {
		return
	}
	l.byKey[key] = l.order.PushFront(&lruEntry[K, V]{key, value, bytes})
	l.bytes += bytes
	for l.order.Len() > l.max || l.maxBytes > 0 && l.bytes > l.maxBytes {
		l.remove(l.order.Back())
	}
}

// get returns a value and leaves it.
func (l *lru[K, V]) get(key K) (v V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byKey[key]
	if e == nil {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// take returns a value and forgets it.
func (l *lru[K, V]) take(key K) (v V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byKey[key]
	if e == nil {
		return v, false
	}
	l.remove(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

func (l *lru[K, V]) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.order.Len() > 0 {
		l.remove(l.order.Back())
	}
}

func (l *lru[K, V]) remove(e *list.Element) {
	if e == nil {
		return
	}
	x := l.order.Remove(e).(*lruEntry[K, V])
	delete(l.byKey, x.key)
	l.bytes -= x.bytes
}
