package trpc

import (
	"maps"
	"slices"
)

// Procedures returns the names of all procedures.
func Procedures() []string { return slices.Sorted(maps.Keys(procedures)) }
