// Package datashare is how own datasets reach workers: a store of them in the cluster's bucket, a client that uploads
// to it through the coordinator, and a source for workers that fetches what their data folder lacks.
//
// A dataset is one file, named by its SHA-256. Its chunks are objects of their own, datasets/<sha256>/<number>, so that
// an upload that was interrupted goes on where it was; datasets/<sha256>/complete is there when all are, and were
// compared with the digest.
package datashare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"neoteny/internal/blob"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// ChunkBytes is the length of every chunk but the last: well below what a message may have.
const ChunkBytes = 4 << 20

// MaxFile bounds a dataset's file; the rules of pb.DatasetFile have the same number.
const MaxFile = data.MaxBytes + 4096

// Bucket is what the store needs of a blob store.
type Bucket interface {
	Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error)
	Read(ctx context.Context, key string, limit int64) ([]byte, error)
	Exists(ctx context.Context, key string) (bool, error)
	List(ctx context.Context, folder string, visit func(key string, bytes int64)) error
	Delete(ctx context.Context, folder string) error
}

var _ Bucket = (*blob.Bucket)(nil)

// Store keeps own datasets in a bucket.
type Store struct{ Bucket Bucket }

// ErrDiffers says that chunks do not make the file that they are said to be of.
var ErrDiffers = errors.New("the chunks are not those of the file")

func folder(sha256 string) string          { return "datasets/" + sha256 }
func marker(sha256 string) string          { return folder(sha256) + "/complete" }
func chunkKey(sha256 string, n int) string { return folder(sha256) + "/" + strconv.Itoa(n) }

// chunks returns the number of chunks of a file of so many bytes.
func chunks(bytes int64) int { return int((bytes + ChunkBytes - 1) / ChunkBytes) }

// chunkBytes returns the length of a chunk.
func chunkBytes(bytes int64, n int) int64 { return min(ChunkBytes, bytes-int64(n)*ChunkBytes) }

// Have reports whether a file is complete and, if not, which of its chunks are there.
func (s Store) Have(ctx context.Context, f *pb.DatasetFile) (complete bool, have []int32, err error) {
	if complete, err = s.Bucket.Exists(ctx, marker(f.GetSha256())); err != nil || complete {
		return complete, nil, err
	}
	for n := range chunks(f.GetBytes()) {
		ok, err := s.Bucket.Exists(ctx, chunkKey(f.GetSha256(), n))
		if err != nil {
			return false, nil, err
		}
		if ok {
			have = append(have, int32(n))
		}
	}
	return false, have, nil
}

// Put stores a chunk.
func (s Store) Put(ctx context.Context, f *pb.DatasetFile, n int, content []byte) error {
	if n < 0 || n >= chunks(f.GetBytes()) || int64(len(content)) != chunkBytes(f.GetBytes(), n) {
		return fmt.Errorf("chunk %d of %d bytes: %w", n, len(content), ErrDiffers)
	}
	_, err := s.Bucket.Put(ctx, chunkKey(f.GetSha256(), n), content)
	return err
}

// Complete compares the chunks with the digest of the file. Where they differ it removes them.
func (s Store) Complete(ctx context.Context, f *pb.DatasetFile) error {
	h := sha256.New()
	for n := range chunks(f.GetBytes()) {
		b, err := s.Bucket.Read(ctx, chunkKey(f.GetSha256(), n), ChunkBytes)
		if err != nil {
			return err
		}
		h.Write(b)
	}
	if hex.EncodeToString(h.Sum(nil)) != f.GetSha256() {
		if err := s.Bucket.Delete(ctx, folder(f.GetSha256())); err != nil {
			return err
		}
		return ErrDiffers
	}
	_, err := s.Bucket.Put(ctx, marker(f.GetSha256()), []byte(strconv.FormatInt(f.GetBytes(), 10)))
	return err
}

// Fetch returns a complete file. The error wraps blob.ErrNotFound where there is none.
func (s Store) Fetch(ctx context.Context, digest string) ([]byte, error) {
	text, err := s.Bucket.Read(ctx, marker(digest), 32)
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || size < 1 || size > MaxFile {
		return nil, fmt.Errorf("read %s: it is damaged: upload the dataset again", marker(digest))
	}
	var b bytes.Buffer
	for n := range chunks(size) {
		part, err := s.Bucket.Read(ctx, chunkKey(digest, n), ChunkBytes)
		if err != nil {
			return nil, err
		}
		b.Write(part)
	}
	if sum := sha256.Sum256(b.Bytes()); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("read %s: SHA-256 is %s: remove the folder and upload the dataset again", folder(digest), hex.EncodeToString(sum[:]))
	}
	return b.Bytes(), nil
}
