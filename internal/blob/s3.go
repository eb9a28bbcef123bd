//go:build s3 || cloud

package blob

import _ "gocloud.dev/blob/s3blob" // s3://, of Amazon and of all that speak its protocol

func init() { cloudSchemes = append(cloudSchemes, "s3") }
