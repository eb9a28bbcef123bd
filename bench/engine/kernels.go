package main

import "fmt"

// streamSizes are the sizes of one array of a streaming kernel: in the caches
// of a core, in the next, beyond.
var streamSizes = []struct {
	name string
	n    int
}{{"16 KiB", 4 << 10}, {"256 KiB", 64 << 10}, {"1 MiB", 256 << 10}, {"64 MiB", 16 << 20}}

// kernelCases are the matrix products of training and the kernels whose limit
// is memory.
func kernelCases() []benchCase {
	var cases []benchCase
	product := func(form string, m, n, k int, target *float64, peak float64) {
		cases = append(cases, benchCase{
			name: fmt.Sprintf("gemm/%s %dx%dx%d", form, m, n, k), group: groupGEMM, peer: "openblas",
			job:    job{Kind: "gemm", Impl: "ours", Form: form, M: m, N: n, K: k},
			target: target, peak: peak, also: []string{"gonum", "peak"},
		})
	}
	for _, n := range []int{16, 32, 64, 96, 128, 192, 256, 512, 1024} {
		var target *float64
		if n <= 256 {
			target = atLeast(1)
		}
		product("NN", n, n, n, target, 0)
	}
	product("NN", 64, 256, 256, nil, 0.75)
	product("NN", 256, 2000, 2000, nil, 0.85)
	// One layer at batch 32: forward, gradient of the weights, of the inputs.
	product("NN", 32, 100, 784, nil, 0)
	product("TN", 784, 100, 32, nil, 0)
	product("NT", 32, 784, 100, nil, 0)
	product("TN", 2000, 2000, 256, nil, 0)
	product("NT", 256, 2000, 2000, nil, 0)

	for _, s := range streams {
		for _, size := range streamSizes {
			cases = append(cases, benchCase{
				name: fmt.Sprintf("stream/%s %s", s.name, size.name), group: groupStream, peer: "copy",
				job:   job{Kind: "stream", Impl: s.name, N: size.n},
				bytes: 4 * float64(s.arrays) * float64(size.n),
			})
		}
	}
	return cases
}
