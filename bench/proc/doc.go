// Package proc reads from outside what another process costs: CPU time, memory
// and context switches from Linux's /proc, and of a Go program its goroutines
// and allocations from its pprof pages over HTTP.
package proc
