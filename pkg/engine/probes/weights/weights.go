// Package weights has probes of the parameters themselves: sizes, ranks and how far they
// move.
package weights
