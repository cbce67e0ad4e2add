//go:build race

package sim_test

// Under the race detector everything takes ten times as long.
const (
	defaultSeeds  = 15
	defaultCycles = 100
)
