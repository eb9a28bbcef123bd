package datashare

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "neoteny/proto/neoteny/v1"
)

// Limits bound what is uploaded to a cluster. A limit of 0 is none.
type Limits struct {
	Datasets int   // how many
	Bytes    int64 // of all together
}

// ErrNoRoom says that a dataset would exceed the limits.
var ErrNoRoom = errors.New("no room in the cluster's data store")

// recount is after how long the store is looked through again: other coordinators upload,
// and people remove datasets.
const recount = 30 * time.Second

// room knows what the store holds, and what has begun to be uploaded.
type room struct {
	store  Store
	limits Limits

	mu      sync.Mutex
	counted time.Time
	used    map[string]int64 // bytes by dataset
}

// take makes room for a dataset, of which there may be a part already.
func (r *room) take(ctx context.Context, f *pb.DatasetFile) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil || time.Since(r.counted) > recount {
		used := map[string]int64{}
		err := r.store.Bucket.List(ctx, "datasets", func(key string, bytes int64) {
			dataset, _, _ := strings.Cut(strings.TrimPrefix(key, "datasets/"), "/")
			used[dataset] += bytes
		})
		if err != nil {
			return err
		}
		r.used, r.counted = used, time.Now()
	}
	var others int64
	for dataset, bytes := range r.used {
		if dataset != f.GetSha256() {
			others += bytes
		}
	}
	_, known := r.used[f.GetSha256()]
	const remedy = "remove folders datasets/<SHA-256> of the blob store that no experiment needs, or raise the coordinator's"
	switch {
	case !known && r.limits.Datasets > 0 && len(r.used) >= r.limits.Datasets:
		return fmt.Errorf("%w: it holds %d datasets, and may hold %d: %s --max-datasets", ErrNoRoom, len(r.used), r.limits.Datasets, remedy)
	case r.limits.Bytes > 0 && others+f.GetBytes() > r.limits.Bytes:
		return fmt.Errorf("%w: with the %s of this dataset it would hold %s, and may hold %s: %s --max-dataset-gib",
			ErrNoRoom, gib(f.GetBytes()), gib(others+f.GetBytes()), gib(r.limits.Bytes), remedy)
	}
	r.used[f.GetSha256()] = max(r.used[f.GetSha256()], f.GetBytes())
	return nil
}

func gib(bytes int64) string { return fmt.Sprintf("%.4g GiB", float64(bytes)/(1<<30)) }
