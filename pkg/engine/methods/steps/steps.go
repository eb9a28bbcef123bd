// Package steps has methods that change how far a step of the optimiser goes.
package steps
