package metrics

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"neoteny/internal/metric"
)

// maxFileName keeps a name with its extension below the 255 bytes that common
// file systems take.
const maxFileName = 200

// escape maps text to a file name one to one: lower-case letters, digits, dash,
// underscore and inner dots stay, every other byte becomes %XX. The result
// never starts with a dot, contains no separator and differs between names that
// differ only in case, which matters where the file system folds it.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// shorten bounds a file name. The tilde occurs in no escaped name, so a
// shortened one cannot meet another.
func shorten(name string) string {
	if len(name) <= maxFileName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:maxFileName-33] + "~" + hex.EncodeToString(sum[:16])
}

// folder returns the folder of an experiment, relative to the data folder.
func folder(experiment string) string { return shorten(escape(experiment)) }

// fileNames returns the experiment's folder and the track's file name without
// its extension: <trial>@<seed>@<track>.
func fileNames(t metric.Track) (dir, base string) {
	experiment, trial, seed := t.Split()
	return folder(experiment), shorten(escape(trial) + "@" + escape(seed) + "@" + escape(t.Name))
}
