// Package importance has methods that hold a weight where it was by how much what
// was learned before depends on it.
package importance
