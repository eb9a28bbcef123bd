package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lockName is our own lock in the data folder. etcd has one as well, in its
// database file, but waits for it for ever.
const lockName = "neoteny.lock"

// lockDir makes the folder, proves that it can be written, and locks it. The
// lock goes with the returned file or with the process.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd data folder %s: %w", dir, pathless(err))
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("etcd data folder %s cannot be written: %w", dir, pathless(err))
	}
	if err := tryLock(f); err != nil {
		_ = f.Close()
		return nil, busy(dir, err)
	}
	// An etcd server that we did not start does not know our lock.
	db, err := os.OpenFile(filepath.Join(dir, "member", "snap", "db"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = tryLock(db)
		_ = db.Close() // unlocks
		if err == nil {
			return f, nil
		}
		err = busy(dir, err)
	} else {
		err = fmt.Errorf("etcd data folder %s cannot be written: %w", dir, pathless(err))
	}
	_ = f.Close()
	return nil, err
}

// ErrLocked says that another process uses the data folder.
var ErrLocked = errors.New("locked")

func busy(dir string, err error) error {
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("etcd data folder %s is in use by another process; stop it or give another folder: %w", dir, ErrLocked)
	}
	return fmt.Errorf("lock etcd data folder %s: %w", dir, pathless(err))
}

// pathless keeps a message from naming its path twice.
func pathless(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
