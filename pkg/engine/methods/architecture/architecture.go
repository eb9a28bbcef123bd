// Package architecture has methods that give a task its own parts of a network, or
// a network of its own: units, filters, gates and layers that other tasks leave alone.
package architecture
