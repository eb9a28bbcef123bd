package wiring

import (
	"errors"
	"fmt"
	"os"
)

// StateDir makes the folder of the stack's state.
func StateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return fmt.Errorf("state folder %s cannot be made: %w; give another with --state-dir", dir, err)
	}
	return nil
}
