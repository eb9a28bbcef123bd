// Package probes registers the measurements that come with neoteny. They are sorted
// by what they look at, one file each.
package probes

import (
	_ "neoteny/pkg/engine/probes/accuracy"   // what the learner has right
	_ "neoteny/pkg/engine/probes/features"   // the layers' features as matrices
	_ "neoteny/pkg/engine/probes/gradients"  // derivatives of the loss
	_ "neoteny/pkg/engine/probes/plasticity" // how well it still learns
	_ "neoteny/pkg/engine/probes/units"      // single hidden units
	_ "neoteny/pkg/engine/probes/weights"    // the parameters themselves
)
