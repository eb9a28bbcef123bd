package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	gcblob "gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

const (
	identityKey   = "store-id"
	identityBytes = 16
)

// Identity returns what tells this bucket from all others, whatever their addresses: a
// random name in an object of it, which is made where it is missing.
func (b *Bucket) Identity(ctx context.Context) (string, error) {
	for range 2 {
		id, err := b.Read(ctx, identityKey, 256)
		if err == nil {
			name := strings.TrimSpace(string(id))
			if raw, herr := hex.DecodeString(name); herr != nil || len(raw) != identityBytes {
				return "", fmt.Errorf("object %s in %s is not the identity of a store: delete it, and it is made again", identityKey, b.url)
			}
			return name, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return "", err
		}
		if err := b.makeIdentity(ctx); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("object %s in %s cannot be read although it is there", identityKey, b.url)
}

// makeIdentity writes a new identity, unless another process was faster.
func (b *Bucket) makeIdentity(ctx context.Context) error {
	raw := make([]byte, identityBytes)
	_, _ = rand.Read(raw) // never fails
	err := b.bucket.WriteAll(ctx, identityKey, []byte(hex.EncodeToString(raw)+"\n"), &gcblob.WriterOptions{
		ContentType: "text/plain", DisableContentTypeDetection: true, IfNotExist: true,
	})
	if gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return nil
	}
	if err == nil {
		err = b.sync(identityKey)
	}
	if err != nil {
		return b.failed("write", identityKey, err)
	}
	return nil
}
