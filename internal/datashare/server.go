package datashare

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/blob"
	pb "neoteny/proto/neoteny/v1"
)

// Server is pb.DatasetServiceServer over a store.
type Server struct {
	pb.UnimplementedDatasetServiceServer
	store Store
	room  *room
}

// NewServer returns a server that takes datasets up to the limits.
func NewServer(store Store, limits Limits) *Server {
	return &Server{store: store, room: &room{store: store, limits: limits}}
}

// GetDataset says what there is of a dataset.
func (s *Server) GetDataset(ctx context.Context, req *pb.GetDatasetRequest) (*pb.GetDatasetResponse, error) {
	complete, have, err := s.store.Have(ctx, req.GetFile())
	if err != nil {
		return nil, asStatus(err)
	}
	return &pb.GetDatasetResponse{Complete: complete, Chunks: have}, nil
}

// PutDatasetChunk stores a chunk.
func (s *Server) PutDatasetChunk(ctx context.Context, req *pb.PutDatasetChunkRequest) (*pb.PutDatasetChunkResponse, error) {
	if err := s.room.take(ctx, req.GetFile()); err != nil {
		return nil, asStatus(err)
	}
	if err := s.store.Put(ctx, req.GetFile(), int(req.GetChunk()), req.GetData()); err != nil {
		if errors.Is(err, ErrDiffers) {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		return nil, asStatus(err)
	}
	return &pb.PutDatasetChunkResponse{}, nil
}

// CompleteDataset makes a dataset of the chunks.
func (s *Server) CompleteDataset(ctx context.Context, req *pb.CompleteDatasetRequest) (*pb.CompleteDatasetResponse, error) {
	if err := s.store.Complete(ctx, req.GetFile()); err != nil {
		return nil, asStatus(err)
	}
	return &pb.CompleteDatasetResponse{}, nil
}

func asStatus(err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, ErrDiffers):
		code = codes.DataLoss
	case errors.Is(err, blob.ErrNotFound):
		code = codes.FailedPrecondition
	case errors.Is(err, blob.ErrFull), errors.Is(err, ErrNoRoom):
		code = codes.ResourceExhausted
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}
