// Package methods has the interventions that come with neoteny, one file each.
package methods
