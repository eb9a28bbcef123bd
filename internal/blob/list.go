package blob

import (
	"context"
	"errors"
	"io"
	"strings"

	gcblob "gocloud.dev/blob"
)

// List calls visit with the key and length of every object below prefix, which is taken
// as a folder, in the order of the keys.
func (b *Bucket) List(ctx context.Context, prefix string, visit func(key string, bytes int64)) error {
	prefix = strings.TrimSuffix(prefix, "/")
	if err := checkKey(prefix); err != nil {
		return err
	}
	it := b.bucket.List(&gcblob.ListOptions{Prefix: prefix + "/"})
	for {
		obj, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return b.failed("list", prefix, err)
		}
		visit(obj.Key, obj.Size)
	}
}
