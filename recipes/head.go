package recipes

import (
	"fmt"
	"strings"
)

// HeadLine is one of the five lines that a recipe begins with.
type HeadLine struct{ Label, Text string }

// headLabels are the five lines, in their order.
var headLabels = []string{"Paper", "Claims", "Protocol", "Scaled down", "Differs"}

// ReadHead reads the head of a recipe: its comment's first five entries, each a
// label, a colon and a text, which may go on in lines indented by two blanks
// more. What follows an empty comment line is free text.
//
//	# Paper: Dohare et al. 2024, Loss of Plasticity in Deep Continual Learning.
//	# Claims: …
//	# Protocol: …
//	# Scaled down: …
//	# Differs: …
func ReadHead(b []byte) ([]HeadLine, error) {
	var out []HeadLine
	for line := range strings.Lines(string(b)) {
		text, comment := strings.CutPrefix(strings.TrimRight(line, "\r\n \t"), "#")
		if !comment || text == "" {
			break
		}
		if more, ok := strings.CutPrefix(text, "   "); ok && len(out) > 0 {
			out[len(out)-1].Text += " " + strings.TrimSpace(more)
			continue
		}
		if len(out) == len(headLabels) {
			return nil, fmt.Errorf("the head goes on behind %q: leave a line with nothing but # there", headLabels[len(out)-1])
		}
		label, rest, _ := strings.Cut(strings.TrimSpace(text), ":")
		if want := headLabels[len(out)]; label != want || strings.TrimSpace(rest) == "" {
			return nil, fmt.Errorf("line %d of the head must be \"# %s: …\" (the head's lines are %s)", len(out)+1, want, strings.Join(headLabels, ", "))
		}
		out = append(out, HeadLine{label, strings.TrimSpace(rest)})
	}
	if len(out) < len(headLabels) {
		return nil, fmt.Errorf("the head lacks \"# %s: …\" (its lines are %s)", headLabels[len(out)], strings.Join(headLabels, ", "))
	}
	return out, nil
}
