package blob

import (
	"context"

	"gocloud.dev/gcerrors"
)

// Remove deletes the one object under key. Nothing there is no error.
func (b *Bucket) Remove(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := b.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return b.failed("delete", key, err)
	}
	return nil
}
