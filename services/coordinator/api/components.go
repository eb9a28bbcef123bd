package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// ListComponents describes the registered components.
func (s *Server) ListComponents(_ context.Context, req *pb.ListComponentsRequest) (*pb.ListComponentsResponse, error) {
	resp := &pb.ListComponentsResponse{}
	var kinds, names []string
	for _, d := range component.All() {
		if !slices.Contains(kinds, d.Kind) {
			kinds = append(kinds, d.Kind)
		}
		if req.GetKind() != "" && d.Kind != req.Kind {
			continue
		}
		names = append(names, d.Name)
		if req.GetName() != "" && d.Name != req.Name {
			continue
		}
		c := &pb.Component{
			Kind: d.Kind, Name: d.Name, Summary: d.Summary, Paper: d.Paper,
			JsonSchema: string(d.Schema), Defaults: string(d.Defaults), Presets: map[string]string{},
		}
		for name, p := range d.Presets {
			c.Presets[name] = string(p)
		}
		for _, n := range d.Needs {
			c.Needs = append(c.Needs, string(n))
		}
		resp.Components = append(resp.Components, c)
	}
	switch {
	case len(resp.Components) > 0:
		return resp, nil
	case req.GetKind() != "" && !slices.Contains(kinds, req.GetKind()):
		return nil, status.Errorf(codes.NotFound, "no kind of component %q (have: %s)",
			req.GetKind(), strings.Join(kinds, ", "))
	case req.GetName() != "":
		return nil, status.Errorf(codes.NotFound, "no component %q (have: %s)",
			req.GetName(), strings.Join(names, ", "))
	}
	return resp, nil
}
