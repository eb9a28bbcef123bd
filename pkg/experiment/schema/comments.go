package schema

import (
	"regexp"
	"strings"

	pb "neoteny/proto/neoteny/v1"
)

var (
	messageLine = regexp.MustCompile(`^message (\w+) \{`)
	fieldLine   = regexp.MustCompile(`^  [\w.<>, ]+ (\w+) = \d+`)
)

// comments returns what spec.proto says of its messages, by name, and of their
// fields, by message.field. The file is formatted by buf, which a check holds it to.
func comments() map[string]string {
	out := map[string]string{}
	var said []string
	message := ""
	for line := range strings.Lines(pb.SpecSource) {
		line = strings.TrimRight(line, "\n")
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "//"); ok {
			said = append(said, strings.TrimSpace(text))
			continue
		}
		if m := messageLine.FindStringSubmatch(line); m != nil {
			message = m[1]
			out[message] = strings.Join(said, " ")
		} else if m := fieldLine.FindStringSubmatch(line); m != nil {
			out[message+"."+m[1]] = strings.Join(said, " ")
		}
		said = nil
	}
	return out
}
