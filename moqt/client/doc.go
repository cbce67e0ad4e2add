// Package client keeps a program at a relay: when the relay sends GOAWAY it opens
// the next session, asks there for what it was subscribed to and publishes there
// what it published, and only then leaves the old one (draft-ietf-moq-transport-18
// sections 3.6, 9.4.1 and 9.5.1). Both sessions fill the same tracks meanwhile,
// which hold each object once, so that a reader notices nothing. It also follows
// REDIRECT (section 10.6.1).
//
// A Client has the methods of a *moqt.Session that viewers and publishers use.
package client
