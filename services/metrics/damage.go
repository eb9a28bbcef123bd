package metrics

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// errDamaged says that a track's Parquet file is not what was written.
var errDamaged = errors.New("the file is damaged")

// damaged tells content that cannot be read, which will not change, from a disk or a
// caller in trouble, which may.
func damaged(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	_, disk := errors.AsType[*fs.PathError](err)
	return !disk
}

// putAside renames a damaged Parquet file, so that its run can be made again. It returns
// what is to be said of it.
func (s *store) putAside(path string, why error) error {
	bad := path + badExt
	if err := os.Remove(path + sumExt); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(why, err)
	}
	if err := os.Rename(path, bad); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(why, err)
	}
	s.log.Error("renamed a damaged metrics file", "path", bad, "error", why)
	return errors.Join(fmt.Errorf("%w; it is kept as %s: %w", errDamaged, bad, why), syncDir(filepath.Dir(path)))
}

// sumExt is behind the name of the file with a Parquet file's SHA-256. Parquet's own
// checksums are of pages: what is around them, such as how many values a page has, could
// change unnoticed.
const sumExt = ".sha256"

// writeSum writes the SHA-256 of a Parquet file that is about to get its name.
func writeSum(path string, sum []byte) error {
	f, err := os.Create(path + sumExt)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%x\n", sum)
	return errors.Join(err, f.Sync(), f.Close())
}

// checkSum compares a Parquet file with its SHA-256; files of before have none.
func checkSum(path string) error {
	want, err := os.ReadFile(path + sumExt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.TrimSpace(string(want)) {
		return fmt.Errorf("its SHA-256 is %s, not %.64s", got, want)
	}
	return nil
}

// lost forgets a track whose log was removed under the service. Its mutex is held.
func (s *store) lost(t *track) {
	s.log.Error("a metrics log is gone", "path", t.path+logExt, "run", t.key.Run, "track", t.key.Name, "durable_step", t.durable)
	s.drop(t)
}
