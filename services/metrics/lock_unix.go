//go:build unix

package metrics

import (
	"errors"
	"os"
	"syscall"
)

// lockDir takes the file that keeps a second service out of the folder. The
// system lets go of it however the process ends.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another metrics service uses it")
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
