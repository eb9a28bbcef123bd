package main

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// damage harms every file with an extension below a folder, and fails where there is
// none: damage bite|cut|remove folder .ext.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: damage bite|cut|remove folder .ext")
	}
	harmed := 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != args[2] {
			return err
		}
		harmed++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch args[0] {
		case "bite":
			b[len(b)/2] ^= 0x10
			return os.WriteFile(path, b, 0o644)
		case "cut":
			return os.WriteFile(path, b[:len(b)/2], 0o644)
		case "remove":
			return os.Remove(path)
		}
		ts.Fatalf("unknown damage %q", args[0])
		return nil
	}))
	if harmed == 0 {
		ts.Fatalf("no %s file below %s", args[2], args[1])
	}
	ts.Logf("%d files harmed", harmed)
}
