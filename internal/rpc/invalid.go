package rpc

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/pkg/engine/component"
)

// Errors travel in trailers, which proxies limit.
const (
	maxViolations = 50
	maxProblem    = 512 // bytes
)

// InvalidArgument turns mistakes in a request into a status INVALID_ARGUMENT
// that carries every *component.FieldError inside err as a field violation of
// google.rpc.BadRequest. An err without fields becomes the message alone, one
// that is a status already is returned as it is, nil stays nil.
func InvalidArgument(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var all []Violation
	for _, fe := range component.FieldErrors(err) {
		all = append(all, Violation{Field: fe.Field, Problem: fe.Problem})
	}
	if len(all) == 0 {
		return status.Error(codes.InvalidArgument, shorten(err.Error()))
	}
	return invalid(all)
}

// invalid makes the status of at least one violation.
func invalid(all []Violation) error {
	msg := shorten(all[0].String())
	if n := len(all); n > 1 {
		msg = fmt.Sprintf("%d problems, the first: %s", n, msg)
	}
	br := &errdetails.BadRequest{}
	for _, v := range all[:min(len(all), maxViolations)] {
		br.FieldViolations = append(br.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: shorten(v.Field), Description: shorten(v.Problem),
		})
	}
	if more := len(all) - maxViolations; more > 0 {
		br.FieldViolations = append(br.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Description: fmt.Sprintf("and %d more problems", more),
		})
	}
	st, err := status.New(codes.InvalidArgument, msg).WithDetails(br)
	if err != nil {
		return status.Error(codes.InvalidArgument, msg) // the message says the first
	}
	return st.Err()
}

// shorten cuts s to maxProblem bytes of valid UTF-8, which a status must be.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= maxProblem {
		return s
	}
	return strings.ToValidUTF8(s[:maxProblem-len("…")], "") + "…"
}

func validateUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func validateStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &checkedStream{ServerStream: ss})
}

// checkedStream checks each message that it receives.
type checkedStream struct{ grpc.ServerStream }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return check(m)
}

// check applies the rules that are written beside a message in its .proto.
func check(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	err := protovalidate.Validate(msg)
	if err == nil {
		return nil
	}
	ve, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok || len(ve.Violations) == 0 {
		return status.Errorf(codes.Internal, "rules of %s: %v", msg.ProtoReflect().Descriptor().FullName(), err)
	}
	all := make([]Violation, len(ve.Violations))
	for i, v := range ve.Violations {
		all[i] = Violation{Field: fieldPath(v.Proto.GetField()), Problem: problem(v)}
	}
	return invalid(all)
}

func problem(v *protovalidate.Violation) string {
	switch msg := v.Proto.GetMessage(); {
	case v.Proto.GetRuleId() == "string.min_len" && v.FieldValue.IsValid() && v.FieldValue.String() == "":
		return "missing"
	case msg != "":
		return msg
	}
	return "breaks the rule " + v.Proto.GetRuleId()
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// fieldPath writes the path of a violation as experiment files do: from the
// root of the file, not of the request that carries it.
func fieldPath(p *validate.FieldPath) string {
	elements := p.GetElements()
	if len(elements) > 1 && elements[0].GetFieldName() == "spec" {
		elements = elements[1:]
	}
	var s strings.Builder
	for i, e := range elements {
		if i > 0 {
			s.WriteByte('.')
		}
		s.WriteString(e.GetFieldName())
		switch sub := e.GetSubscript().(type) {
		case *validate.FieldPathElement_Index:
			fmt.Fprintf(&s, "[%d]", sub.Index)
		case *validate.FieldPathElement_IntKey:
			fmt.Fprintf(&s, "[%d]", sub.IntKey)
		case *validate.FieldPathElement_UintKey:
			fmt.Fprintf(&s, "[%d]", sub.UintKey)
		case *validate.FieldPathElement_BoolKey:
			fmt.Fprintf(&s, "[%t]", sub.BoolKey)
		case *validate.FieldPathElement_StringKey:
			if plainKey.MatchString(sub.StringKey) {
				s.WriteString("." + sub.StringKey)
			} else {
				s.WriteString("[" + strconv.Quote(sub.StringKey) + "]")
			}
		}
	}
	return s.String()
}
