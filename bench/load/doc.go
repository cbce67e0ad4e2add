// Package load is the publishers and viewers of a measurement: what they send,
// by a schedule, and what they count. It knows no server, only the ways to talk
// to one.
//
// The delay of an object is counted from the moment at which the schedule had
// it, whether or not it was sent then, to the moment at which a viewer has all
// of it. An object that a viewer should have had and did not have counts as
// being as late as the whole run is long, and so do all those of a viewer that
// could not join.
package load
