//go:build !unix

package metrics

import "os"

// lockDir opens the lock file; keeping a second service out is left to the
// operator where there is no flock.
func lockDir(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
}
