package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keyStore holds the identity of the cluster's blob store and, for people, its address.
const keyStore = "meta/store"

// ErrOtherStore says that a process has another blob store than the cluster's: it would
// find nothing of what the others refer to.
var ErrOtherStore = errors.New("not the cluster's blob store")

// ErrNoStore says that no coordinator has recorded the cluster's blob store yet.
var ErrNoStore = errors.New("no coordinator has recorded the cluster's blob store yet")

// ClaimStore records the blob store of a cluster that has none yet, and else compares.
func (c *Client) ClaimStore(ctx context.Context, identity, address string) error {
	r, err := once(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return c.kv.Txn(ctx).If(absent(keyStore)).
			Then(clientv3.OpPut(keyStore, identity+" "+address)).
			Else(clientv3.OpGet(keyStore)).Commit()
	})
	switch {
	case err != nil:
		return fmt.Errorf("record the blob store: %w", err)
	case r.Succeeded:
		return nil
	}
	kvs := r.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return nil
	}
	return compareStore(string(kvs[0].Value), identity, address)
}

// CheckStore compares a process's blob store with the cluster's. ErrNoStore where that
// is not known.
func (c *Client) CheckStore(ctx context.Context, identity, address string) error {
	r, err := once(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return c.kv.Get(ctx, keyStore) })
	switch {
	case err != nil:
		return fmt.Errorf("read the cluster's blob store: %w", err)
	case len(r.Kvs) == 0:
		return ErrNoStore
	}
	return compareStore(string(r.Kvs[0].Value), identity, address)
}

func compareStore(recorded, identity, address string) error {
	id, at, _ := strings.Cut(recorded, " ")
	if id == identity {
		return nil
	}
	return fmt.Errorf("%s is %w, which the coordinator knows as %s: give --blob the same store on every machine (identities %.8s and %.8s)",
		address, ErrOtherStore, at, identity, id)
}
