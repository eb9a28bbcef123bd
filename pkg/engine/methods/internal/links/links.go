// Package links has sparse connections between layers that are dropped and grown.
package links

import "neoteny/pkg/engine/rng"

// Rewire drops links and grows as many, as far as there is room: links [in][units] is 1
// where there is one. A link is dropped where its source has age 0 in from [in] and its
// target has not in to [units], and grown where the target has age 0, by draws of key
// for the step. Weights without a link are 0 at all times.
func Rewire(links, weights []float32, from, to []int32, key rng.Key, step uint64) {
	n := len(to)
	dropped, room := 0, 0
	for k := range links {
		source, target := from[k/n], to[k%n]
		switch {
		case target == 0 && links[k] == 0:
			room++
		case target != 0 && source == 0 && links[k] == 1:
			links[k], weights[k] = 0, 0
			dropped++
		}
	}
	for k := range links { // Knuth's algorithm S
		if dropped == 0 {
			return
		}
		if to[k%n] == 0 && links[k] == 0 {
			if key.Intn(room, step, uint64(k)) < dropped {
				links[k] = 1
				dropped--
			}
			room--
		}
	}
}
