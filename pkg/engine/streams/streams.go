// Package streams has the task sequences that come with neoteny, one file each.
package streams

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
)

// lookup returns the catalogue's description of a dataset parameter.
func lookup(name string) (data.Meta, error) {
	m, ok := data.Lookup(name)
	if !ok {
		var names []string
		for _, d := range data.Catalogue() {
			names = append(names, d.Name)
		}
		return m, component.Fieldf("dataset", "unknown dataset %q%s (have: %v)", name, component.DidYouMean(name, names), names)
	}
	return m, nil
}
