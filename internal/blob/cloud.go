//go:build cloud

package blob

import (
	_ "gocloud.dev/blob/gcsblob" // gs://
	_ "gocloud.dev/blob/s3blob"  // s3://
)

func init() { cloudSchemes = []string{"gs", "s3"} }
