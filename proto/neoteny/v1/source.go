package neotenyv1

import _ "embed"

// SpecSource is spec.proto as it is written: generated descriptors have no comments,
// and those of the experiment file are its documentation.
//
//go:embed spec.proto
var SpecSource string
