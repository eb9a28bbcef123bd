// Package regularise has methods that pull weights or features to where learning
// stays easy, or keep them in bounds.
package regularise
