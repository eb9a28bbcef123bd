// Package plasticity has probes of how well the network still learns, measured by
// letting it.
package plasticity
