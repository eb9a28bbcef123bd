// Package blob keeps immutable objects (checkpoints, task tables, artifacts,
// specs too large for etcd) under keys in a bucket: a folder, memory, or, in a
// program built with the tag "cloud", S3 or Google Cloud Storage. A reference
// carries the SHA-256 and the length of the content, and reading checks both,
// so that what comes out is what was put in or an error.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	gcblob "gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	pb "neoteny/proto/neoteny/v1"
)

// Errors that callers branch on.
var (
	// ErrNotFound: the bucket holds no object under the key.
	ErrNotFound = errors.New("no such object")
	// ErrCorrupt: the object is not the one that was put there; reading again
	// cannot help.
	ErrCorrupt = errors.New("content does not match its reference")
	// ErrTooLarge: the object exceeds the reader's limit.
	ErrTooLarge = errors.New("larger than allowed")
	// ErrFull: the disk or the quota of the bucket is used up.
	ErrFull = errors.New("no space left in the blob store")
	// ErrKey: the key or prefix is not a plain relative path.
	ErrKey = errors.New("bad key")
)

// maxKey bounds the length of keys in bytes, well below what every store takes.
const maxKey = 900

// Bucket is an open bucket. Its methods may be called concurrently.
type Bucket struct {
	bucket *gcblob.Bucket
	url    string
	dir    string // the folder of a file bucket, else empty
}

// URL returns the address the bucket was opened with, without its query (which
// may hold options of a cloud store).
func (b *Bucket) URL() string { return b.url }

// Close releases the bucket's connections.
func (b *Bucket) Close() error { return b.bucket.Close() }

// Put stores data under key and returns its reference. The object appears
// whole or not at all, and on a folder it is on disk when Put returns. Putting
// the same key again replaces it; keys that hold a digest of their content
// make that harmless. Errors: ErrFull, ErrKey, or the store's.
func (b *Bucket) Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	w, err := b.bucket.NewWriter(ctx, key, &gcblob.WriterOptions{
		ContentType:                 "application/octet-stream",
		DisableContentTypeDetection: true,
	})
	if err != nil {
		return nil, b.failed("write", key, err)
	}
	if _, err := w.Write(data); err != nil {
		abort()   // else Close would put what was written so far in place
		w.Close() // the write's error says why
		return nil, b.failed("write", key, err)
	}
	if err := w.Close(); err != nil {
		return nil, b.failed("write", key, err)
	}
	if err := b.sync(key); err != nil {
		return nil, b.failed("sync", key, err)
	}
	return &pb.BlobRef{Key: key, Sha256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}, nil
}

// Get reads the object that ref names. It never reads more than limit bytes,
// and returns ErrTooLarge where ref or the object is longer, ErrCorrupt where
// length or SHA-256 differ from ref, ErrNotFound where there is nothing.
func (b *Bucket) Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error) {
	key := ref.GetKey()
	if err := checkKey(key); err != nil {
		return nil, err
	}
	want := ref.GetBytes()
	if want < 0 {
		return nil, fmt.Errorf("read %s: length %d in the reference: %w", key, want, ErrCorrupt)
	}
	if want > limit {
		return nil, fmt.Errorf("read %s: %d bytes, limit %d: %w", key, want, limit, ErrTooLarge)
	}
	r, err := b.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, b.failed("read", key, err)
	}
	defer r.Close()
	if r.Size() != want {
		return nil, fmt.Errorf("read %s: %d bytes instead of %d: %w", key, r.Size(), want, ErrCorrupt)
	}
	data := make([]byte, want)
	if _, err := io.ReadFull(r, data); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("read %s: ends before its %d bytes: %w", key, want, ErrCorrupt)
		}
		return nil, b.failed("read", key, err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != ref.GetSha256() {
		return nil, fmt.Errorf("read %s: SHA-256 %s instead of %s: %w", key, got, ref.GetSha256(), ErrCorrupt)
	}
	return data, nil
}

// Read reads the object under key, of at most limit bytes, unchecked: it is for
// content that the caller compares with a digest. Errors: ErrTooLarge,
// ErrNotFound, or the store's.
func (b *Bucket) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r, err := b.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, b.failed("read", key, err)
	}
	defer r.Close()
	if r.Size() > limit {
		return nil, fmt.Errorf("read %s: %d bytes, limit %d: %w", key, r.Size(), limit, ErrTooLarge)
	}
	data, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, b.failed("read", key, err)
	}
	return data, nil
}

// Exists reports whether an object is stored under key.
func (b *Bucket) Exists(ctx context.Context, key string) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	ok, err := b.bucket.Exists(ctx, key)
	if err != nil {
		return false, b.failed("look up", key, err)
	}
	return ok, nil
}

// Delete removes every object below prefix, which is taken as a folder:
// "checkpoints/a" does not touch "checkpoints/ab". Nothing there is no error.
func (b *Bucket) Delete(ctx context.Context, prefix string) error {
	prefix = strings.TrimSuffix(prefix, "/")
	if err := checkKey(prefix); err != nil {
		return err
	}
	it := b.bucket.List(&gcblob.ListOptions{Prefix: prefix + "/"})
	for {
		obj, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b.failed("list", prefix, err)
		}
		if err := b.bucket.Delete(ctx, obj.Key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return b.failed("delete", obj.Key, err)
		}
	}
	if b.dir == "" {
		return nil
	}
	// A folder keeps the empty folders of the keys, and the temporary file of
	// a writer that was killed.
	if err := os.RemoveAll(filepath.Join(b.dir, filepath.FromSlash(prefix))); err != nil {
		return b.failed("delete", prefix, err)
	}
	return nil
}

// Ping reports whether the bucket can be reached and, for a folder, written; a
// readiness check.
func (b *Bucket) Ping(ctx context.Context) error {
	if b.dir != "" {
		return writable(b.dir)
	}
	ok, err := b.bucket.IsAccessible(ctx)
	if err != nil {
		return fmt.Errorf("blob store %s: %w", b.url, err)
	}
	if !ok {
		return fmt.Errorf("blob store %s: bucket cannot be accessed", b.url)
	}
	return nil
}

// failed turns an error of the store into one that names the store, the key
// and, where callers branch, one of the package's errors.
func (b *Bucket) failed(what, key string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s in %s: %w (free some space there; %w)", what, key, b.url, ErrFull, err)
	case gcerrors.Code(err) == gcerrors.NotFound:
		return fmt.Errorf("%s %s in %s: %w", what, key, b.url, ErrNotFound)
	case gcerrors.Code(err) == gcerrors.ResourceExhausted:
		return fmt.Errorf("%s %s in %s: %w (%w)", what, key, b.url, ErrFull, err)
	}
	return fmt.Errorf("%s %s in %s: %w", what, key, b.url, err)
}

// sync makes an object of a folder durable: the file, and the folders that
// name it up to the bucket's.
func (b *Bucket) sync(key string) error {
	if b.dir == "" {
		return nil
	}
	for at := filepath.Join(b.dir, filepath.FromSlash(key)); ; at = filepath.Dir(at) {
		f, err := os.Open(at)
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
		if at == b.dir {
			return nil
		}
	}
}

// checkKey lets only plain relative paths of printable ASCII pass: the same
// key then means the same object in every kind of store, and none leaves the
// bucket.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes long", ErrKey, len(key))
	}
	for _, r := range key {
		if r <= ' ' || r > '~' || r == '\\' {
			return fmt.Errorf("%w %q: holds %q", ErrKey, key, r)
		}
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w %q: has the part %q", ErrKey, key, part)
		}
	}
	return nil
}
