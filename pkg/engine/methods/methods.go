// Package methods registers the interventions that come with neoteny. They are
// sorted by idea, one file each.
package methods

import (
	_ "neoteny/pkg/engine/methods/architecture" // tasks have parts of the network of their own
	_ "neoteny/pkg/engine/methods/importance"   // weights are held by what depends on them
	_ "neoteny/pkg/engine/methods/inputs"       // what the network is shown
	_ "neoteny/pkg/engine/methods/normalise"    // scales are kept
	_ "neoteny/pkg/engine/methods/projection"   // gradients leave earlier answers alone
	_ "neoteny/pkg/engine/methods/regularise"   // weights are pulled to where learning stays easy
	_ "neoteny/pkg/engine/methods/replay"       // the past is learned again
	_ "neoteny/pkg/engine/methods/resets"       // parts of the network start again
	_ "neoteny/pkg/engine/methods/steps"        // how far a step goes
)
