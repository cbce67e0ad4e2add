// Package srt takes SRT in: encoders that call a Listener's port, and remote
// listeners that a Puller calls. What SRT carries is an MPEG transport stream,
// which package mpegts reads.
//
// # Names and keys
//
// The stream id says what is to be published, in one of three forms:
//
//	NAME:KEY
//	#!::r=NAME,m=publish,u=USER,s=KEY
//	publish:NAME:USER:KEY
//
// A name alone (NAME, publish:NAME) shows no key. The stream id travels in
// clear: a passphrase, which the input may have, keeps media and sender safe from
// others on the way, the key does not. See ParseStreamID.
//
// # The order of a handshake
//
// Before the handshake completes the stream id is read, the address is held to
// those that the input allows, the passphrase is tried and the key is decided
// about. Who is refused gets a code of SRT's: Code lists them.
//
// # What gosrt is held to
//
// The transport is datarhei/gosrt. It has the stateless cookie, checks key
// material's lengths and takes a repeated conclusion as the same connection. What
// it leaves open is closed here, where that is possible from outside: a
// handshake that makes it panic or allocate without measure, packets in clear on
// an encrypted connection, a receive buffer without a bound, a peer that never
// confirms an ACK, and what was still inside the latency when the sender closed.
// A Puller, whose gosrt runs goroutines that nobody can guard, lets it see
// the server only through a guard.
//
// What cannot be mended from outside: the answer to a conclusion is sent once, so
// that on a network that loses it the encoder has to call again; peers before
// SRT 1.4.1 are refused; there is no FEC, no bonding, no AES-GCM and no
// rendezvous.
//
// Sources: draft-sharabayko-srt-01; Haivision's access control guidelines for
// the stream id and the codes from 1400 on.
package srt
