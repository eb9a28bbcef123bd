package kernel

//go:generate go run neoteny/pkg/engine/kernel/internal/asmgen/generate
