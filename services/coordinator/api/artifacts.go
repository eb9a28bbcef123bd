package api

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/results"
)

// artifactPiece is how much of an artifact is sent at a time.
const artifactPiece = 1 << 20

// GetArtifact streams an artifact of a run. NOT_FOUND lists those that it has.
func (s *Server) GetArtifact(req *pb.GetArtifactRequest, out pb.ExperimentService_GetArtifactServer) error {
	ctx := out.Context()
	if err := s.synced(ctx); err != nil {
		return err
	}
	expID, trialName, seed, err := experiment.SplitRunID(req.GetRun())
	if err != nil {
		return rpc.InvalidArgument(component.Fieldf("run", "%v", err))
	}
	var ref *pb.BlobRef
	var have []string
	s.mirror.Read(func(st *mirror.State) {
		var resp *pb.GetRunResponse
		if resp, _, _, err = s.runAt(st, expID, trialName, seed); err == nil {
			ref = resp.Run.Artifacts[req.GetName()]
			for name := range resp.Run.Artifacts {
				have = append(have, name)
			}
		}
	})
	switch {
	case err != nil:
		return err
	case ref == nil && len(have) == 0:
		return status.Errorf(codes.NotFound,
			"run %s has published nothing: submit with `publish: [%s]` in the file, or --weights", req.GetRun(), req.GetName())
	case ref == nil:
		slices.Sort(have)
		return status.Errorf(codes.NotFound, "run %s has no artifact %q (has: %s)", req.GetRun(), req.GetName(), strings.Join(have, ", "))
	}
	b, err := s.tables.Artifact(ctx, ref)
	switch {
	case results.Lost(err):
		return status.Errorf(codes.DataLoss, "artifact %s of %s: %v", req.GetName(), req.GetRun(), err)
	case err != nil:
		return unavailable(ctx, err)
	}
	for piece := range slices.Chunk(b, artifactPiece) {
		if err := out.Send(&pb.GetArtifactResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}
