//go:build race

package transport

// slowdown divides the virtual time that tests under pressure take, because the
// race detector makes each second of it dear.
const slowdown = 4
