//go:build cloud

package blob

import _ "gocloud.dev/blob/gcsblob" // gs://

func init() { cloudSchemes = append(cloudSchemes, "gs") }
