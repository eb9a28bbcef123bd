package schema

import (
	"iter"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "neoteny/proto/neoteny/v1"
)

// messageFields are the names of a message's fields in the order of spec.proto; none
// of what is no message.
func messageFields(message string) iter.Seq[string] {
	return func(yield func(string) bool) {
		md := pb.File_neoteny_v1_spec_proto.Messages().ByName(protoreflect.Name(message))
		if message == "input" {
			md = (&pb.Need{}).ProtoReflect().Descriptor()
		}
		if md == nil {
			return
		}
		for i := range md.Fields().Len() {
			if !yield(string(md.Fields().Get(i).Name())) {
				return
			}
		}
	}
}
