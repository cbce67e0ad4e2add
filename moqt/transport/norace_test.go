//go:build !race

package transport

// slowdown divides the virtual time that tests under pressure take.
const slowdown = 1
