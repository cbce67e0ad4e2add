// Package bench measures what serving live media costs: server CPU for each
// gigabyte, delay, memory, packets.
//
// A run has three processes beside the one that asks for it: the server under
// test, a publisher, and the viewers. So what the load itself costs is not in
// the server's figures, which are read from outside, from /proc. Two parties are
// compared by running them in turn (A B A B …) on the same machine, and what
// counts is the ratio of each pair: figures of one machine at one time say
// little about another.
//
// The delay of an object is counted from the moment at which the publisher's
// schedule had it, whether or not it was sent then, to the moment at which a
// viewer has all of it. Objects that a viewer should have had and did not have
// count as infinitely late, and so do all those of a viewer that could not join.
package bench
