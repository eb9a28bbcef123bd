package datashare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "neoteny/proto/neoteny/v1"
)

// Upload sends a file to the cluster's data store, but for what of it is there already. Progress is called with the
// bytes that are there, first and after each chunk.
func Upload(ctx context.Context, api pb.DatasetServiceClient, r io.ReaderAt, size int64, progress func(done int64)) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return err
	}
	f := &pb.DatasetFile{Sha256: hex.EncodeToString(h.Sum(nil)), Bytes: size}
	for try := 0; ; try++ {
		err := upload(ctx, api, f, r, progress)
		// Chunks that another upload has left and that were not the file's are gone now.
		if status.Code(err) == codes.DataLoss && try == 0 {
			continue
		}
		if status.Code(err) == codes.Unimplemented {
			return fmt.Errorf("the coordinator is of an older version and takes no datasets: %w", err)
		}
		return err
	}
}

func upload(ctx context.Context, api pb.DatasetServiceClient, f *pb.DatasetFile, r io.ReaderAt, progress func(int64)) error {
	have, err := api.GetDataset(ctx, &pb.GetDatasetRequest{File: f})
	if err != nil {
		return err
	}
	if have.GetComplete() {
		progress(f.GetBytes())
		return nil
	}
	done := int64(0)
	for _, n := range have.GetChunks() {
		done += chunkBytes(f.GetBytes(), int(n))
	}
	progress(done)
	for n := range chunks(f.GetBytes()) {
		if slices.Contains(have.GetChunks(), int32(n)) {
			continue
		}
		chunk := make([]byte, chunkBytes(f.GetBytes(), n))
		if _, err := r.ReadAt(chunk, int64(n)*ChunkBytes); err != nil {
			return err
		}
		if _, err := api.PutDatasetChunk(ctx, &pb.PutDatasetChunkRequest{File: f, Chunk: int32(n), Data: chunk}); err != nil {
			return err
		}
		done += int64(len(chunk))
		progress(done)
	}
	_, err = api.CompleteDataset(ctx, &pb.CompleteDatasetRequest{File: f})
	return err
}
