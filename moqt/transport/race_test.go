//go:build race

package transport

// raceDetector makes virtual time so dear that tests which play minutes of it
// leave them to a run without it.
const raceDetector = true
