//go:build tools

// Package etcd pins the etcd server and etcdctl that integration tests run
// beside the program: a module of its own, so that what only etcd's command
// line needs stays out of neoteny's.
package etcd

import (
	_ "go.etcd.io/etcd/etcdctl/v3/ctlv3"
	_ "go.etcd.io/etcd/server/v3/etcdmain"
)
