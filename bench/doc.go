// Package bench measures what serving live media costs: server CPU for each
// gigabyte, delay, memory, packets, and how it bears bad networks.
//
// The server under test, the publisher and the viewers are processes of their
// own, so that what the load costs is not in the server's figures, which are
// read from outside: from /proc, and of a Go program from its pprof pages.
//
// A Plan lists arms, each one way to run; the arms of a block take turns, in the
// order A B B A A B …, so that what the machine does meanwhile hits all alike.
// Ratios are taken pair by pair. Figures of one machine at one time say little
// about another; ratios say more.
//
//	bench/run       one run of one arm: the processes, and what they say
//	bench/load      publishers, viewers, profiles
//	bench/link      a bad network before a viewer
//	bench/ceiling   bare quic-go, the floor
//	bench/mediamtx  another server, to be compared with
//	bench/mp4ff     another writer of chunks, to be compared with
//	bench/proc      what a process costs, from outside
//	bench/stat      medians and intervals
//	bench/report    tables, JSON, HTML, differences
package bench
