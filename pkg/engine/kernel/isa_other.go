//go:build !amd64 && !arm64

package kernel

const hasNEON = false
