// Package replay has methods that learn again what they learned before: from
// remembered examples, or from what the network answered then.
package replay
