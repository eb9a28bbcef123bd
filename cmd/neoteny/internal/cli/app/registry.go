package app

import (
	"cmp"
	"fmt"
	"slices"
)

// Command is a command of the program. Every one registers itself, in a file of its
// own: `init` → [Register].
type Command struct {
	Name  string
	Help  string // one line, for the list of commands
	Group Group
	Place int // in the list of its group
	// New returns the command: a struct of flags and arguments in kong's tags, with a
	// method Run, and Help for what --help says beyond them.
	New func() any
}

// Group is a part of the list of commands.
type Group string

// Groups, in the order of the list.
const (
	Everyday  Group = ""
	Cluster   Group = "cluster"
	Services  Group = "services"
	Reference Group = "reference"
)

var groups = []Group{Everyday, Cluster, Services, Reference}

var registered []Command

// Register adds a command. It panics on a name that is taken, and on a group that is
// not one.
func Register(c Command) {
	if slices.ContainsFunc(registered, func(other Command) bool { return other.Name == c.Name }) {
		panic(fmt.Sprintf("cli: command %s registered twice", c.Name))
	}
	if !slices.Contains(groups, c.Group) {
		panic(fmt.Sprintf("cli: command %s: there is no group %q", c.Name, c.Group))
	}
	registered = append(registered, c)
}

// Commands returns the commands in the order of the list.
func Commands() []Command {
	all := slices.Clone(registered)
	slices.SortStableFunc(all, func(a, b Command) int {
		return cmp.Or(
			cmp.Compare(slices.Index(groups, a.Group), slices.Index(groups, b.Group)),
			cmp.Compare(a.Place, b.Place), cmp.Compare(a.Name, b.Name),
		)
	})
	return all
}
