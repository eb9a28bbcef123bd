package datashare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"neoteny/internal/blob"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// cluster is a store, and a client of a server over it.
func cluster(t *testing.T, interceptors ...grpc.UnaryServerInterceptor) (Store, pb.DatasetServiceClient) {
	t.Helper()
	bucket, err := blob.Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, bucket.Close()) })
	store := Store{bucket}
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(interceptors...), grpc.MaxRecvMsgSize(16<<20))
	pb.RegisterDatasetServiceServer(srv, NewServer(store, Limits{Datasets: 2, Bytes: 20 << 20}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis) // ends with the server
	}()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		srv.Stop()
		<-done
	})
	return store, pb.NewDatasetServiceClient(conn)
}

// dataset returns a dataset whose file has three chunks.
func dataset(t *testing.T) (*data.Dataset, []byte) {
	t.Helper()
	d := &data.Dataset{Meta: data.Meta{Shape: []int{1 << 20}, Classes: 2}}
	d.TrainSplit = data.Split{N: 9, X: make([]uint8, 9<<20), Y: []uint8{0, 1, 0, 1, 0, 1, 0, 1, 0}}
	for i := range d.TrainSplit.X {
		d.TrainSplit.X[i] = uint8(i >> 8)
	}
	var b bytes.Buffer
	require.NoError(t, d.WriteContainer(&b))
	require.Equal(t, 3, chunks(int64(b.Len())))
	return d, b.Bytes()
}

func TestWorkersFetchWhatWasUploaded(t *testing.T) {
	store, api := cluster(t)
	d, file := dataset(t)
	dir := t.TempDir()
	source := NewSource(dir, store, slog.New(slog.DiscardHandler))
	_, err := source.Load(d.Name)
	require.ErrorContains(t, err, "nor in the cluster's data store: `neoteny submit` uploads it")

	var seen []int64
	require.NoError(t, Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(done int64) { seen = append(seen, done) }))
	require.Equal(t, []int64{0, ChunkBytes, 2 * ChunkBytes, int64(len(file))}, seen)
	got, err := source.Load(d.Name)
	require.NoError(t, err)
	require.Equal(t, d.Digest(), got.Digest())
	_, err = os.Stat(filepath.Join(dir, data.OwnFolder, data.ContainerFile(d.Digest())))
	require.NoError(t, err)

	// Once is enough, and a folder that cannot be written to is no obstacle.
	seen = nil
	require.NoError(t, Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(done int64) { seen = append(seen, done) }))
	require.Equal(t, []int64{int64(len(file))}, seen)
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, data.OwnFolder), nil, 0o644)) // in the folder's place
	source = NewSource(dir, store, slog.New(slog.DiscardHandler))
	source.folder = data.NewDir(t.TempDir())
	got, err = source.Load(d.Name)
	require.NoError(t, err)
	require.Equal(t, d.TrainSplit.X, got.TrainSplit.X)
	again, err := source.Load(d.Name)
	require.NoError(t, err)
	require.Same(t, got, again)
}

func TestUploadGoesOnWhereItWas(t *testing.T) {
	left := 1
	store, api := cluster(t, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if _, ok := req.(*pb.PutDatasetChunkRequest); ok {
			if left == 0 {
				return nil, status.Error(codes.Unavailable, "gone")
			}
			left--
		}
		return handle(ctx, req)
	})
	d, file := dataset(t)
	require.Error(t, Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(int64) {}))
	_, err := store.Fetch(t.Context(), d.Digest())
	require.ErrorIs(t, err, blob.ErrNotFound)
	left = 2
	var first int64 = -1
	require.NoError(t, Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(done int64) {
		if first < 0 {
			first = done
		}
	}))
	require.Equal(t, int64(ChunkBytes), first)
	b, err := store.Fetch(t.Context(), d.Digest())
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, b))
}

// Chunks of another content, which somebody left there, are replaced.
func TestUploadReplacesWrongChunks(t *testing.T) {
	store, api := cluster(t)
	d, file := dataset(t)
	f := &pb.DatasetFile{Sha256: d.Digest(), Bytes: int64(len(file))}
	require.NoError(t, store.Put(t.Context(), f, 1, make([]byte, ChunkBytes)))
	require.ErrorIs(t, store.Put(t.Context(), f, 1, make([]byte, 5)), ErrDiffers)
	require.ErrorIs(t, store.Put(t.Context(), f, 3, nil), ErrDiffers)
	require.NoError(t, Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(int64) {}))
	b, err := store.Fetch(t.Context(), d.Digest())
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, b))
}

func TestFetchRefusesWhatWasDamaged(t *testing.T) {
	store, api := cluster(t)
	d, file := dataset(t)
	require.NoError(t, Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(int64) {}))
	_, err := store.Bucket.Put(t.Context(), chunkKey(d.Digest(), 0), make([]byte, ChunkBytes))
	require.NoError(t, err)
	_, err = store.Fetch(t.Context(), d.Digest())
	require.ErrorContains(t, err, "SHA-256 is")
	require.False(t, errors.Is(err, blob.ErrNotFound))
	_, err = NewSource(t.TempDir(), store, slog.New(slog.DiscardHandler)).Load(d.Name)
	require.ErrorContains(t, err, "fetch own dataset")
}

// A cluster takes datasets up to its limits: also further chunks of one that has begun,
// and a new one when another was removed.
func TestLimitsOfTheCluster(t *testing.T) {
	store, api := cluster(t) // two datasets, 20 MiB
	upload := func(fill byte, mib int) error {
		file := bytes.Repeat([]byte{fill}, mib<<20)
		return Upload(t.Context(), api, bytes.NewReader(file), int64(len(file)), func(int64) {})
	}
	require.NoError(t, upload(1, 9))
	err := upload(2, 12)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "with the 0.01172 GiB of this dataset it would hold 0.02051 GiB, and may hold 0.01953 GiB: remove folders datasets/<SHA-256>")
	held := 0
	require.NoError(t, store.Bucket.List(t.Context(), "datasets", func(string, int64) { held++ }))
	require.Equal(t, 4, held, "three chunks and a mark: nothing of what was refused")

	require.NoError(t, upload(3, 5))
	require.NoError(t, upload(3, 5), "it is there")
	err = upload(4, 1)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "it holds 2 datasets, and may hold 2")

	none := room{store: store}
	require.NoError(t, none.take(t.Context(), &pb.DatasetFile{Sha256: strings.Repeat("a", 64), Bytes: MaxFile}))
	r := room{store: store, limits: Limits{Datasets: 2}}
	gone := &pb.DatasetFile{Sha256: strings.Repeat("b", 64), Bytes: 1}
	require.ErrorIs(t, r.take(t.Context(), gone), ErrNoRoom)
	sum := sha256.Sum256(bytes.Repeat([]byte{3}, 5<<20))
	require.NoError(t, store.Bucket.Delete(t.Context(), folder(hex.EncodeToString(sum[:]))))
	require.ErrorIs(t, r.take(t.Context(), gone), ErrNoRoom, "it has not looked again")
	r.counted = r.counted.Add(-recount)
	require.NoError(t, r.take(t.Context(), gone))
}
