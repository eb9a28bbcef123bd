// Package normalise has methods that keep the scale of inputs, activations and
// weights.
package normalise
