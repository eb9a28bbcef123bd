// Package all registers every component that comes with neoteny. Import it
// for its effect.
package all

import (
	_ "neoteny/pkg/engine/analyses"
	_ "neoteny/pkg/engine/environments"
	_ "neoteny/pkg/engine/learners"
	_ "neoteny/pkg/engine/methods"
	_ "neoteny/pkg/engine/probes"
	_ "neoteny/pkg/engine/streams"
)
