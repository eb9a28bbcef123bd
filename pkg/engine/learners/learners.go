// Package learners has the learners of a kind of their own that come with
// neoteny, one file each.
package learners
