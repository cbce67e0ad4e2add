// Package relay is a MoQT relay (draft-ietf-moq-transport-18 section 9): a
// table of who publishes which namespace, one upstream subscription per track,
// and fan-out of each track to any number of subscribers from one log in memory.
//
// It knows no media. A publisher or a subscriber in this process uses it as it
// would use a *moqt.Session: Announce, Subscribe and Namespaces are the same.
package relay
