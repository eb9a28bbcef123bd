package metrics

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// InUse reports whether a metrics service has its data in a folder now.
func InUse(dir string) (bool, error) {
	path := filepath.Join(dir, lockName)
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	f, err := lockDir(path)
	if err != nil {
		return true, nil
	}
	return false, f.Close()
}
