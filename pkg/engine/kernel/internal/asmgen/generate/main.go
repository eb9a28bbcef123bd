// Command generate writes the generated files of package kernel into the
// current folder and removes those that are not generated any more.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"neoteny/pkg/engine/kernel/internal/asmgen"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	files := asmgen.Files()
	old, err := filepath.Glob("*.*")
	if err != nil {
		return err
	}
	for _, name := range old {
		have, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		want, ok := files[name]
		if !ok && bytes.HasPrefix(have, []byte(asmgen.Header)) {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
		if bytes.Equal(have, want) {
			delete(files, name)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
