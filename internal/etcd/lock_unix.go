//go:build unix

package etcd

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes an exclusive lock without waiting.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
