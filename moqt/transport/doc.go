// Package transport carries MoQT sessions over QUIC and over WebTransport, on
// one UDP port, as moqt.Conn.
//
// A Server takes raw QUIC (its version tokens are the ALPN) and HTTP/3, where
// extended CONNECT requests become WebTransport sessions and everything else
// goes to an http.Handler. Dial opens either kind as a client.
//
// # WebTransport
//
// The mapping of draft-ietf-webtrans-http3 onto http3's raw connections is our
// own (demux.go, session.go), because a library's stream types hide what the
// egress scheduler lives on: priorities, all-or-nothing writes and reliable
// resets. Every WebTransport stream here is the QUIC stream itself, after a
// header of two varints.
//
// We never negotiate WebTransport's own flow control: none of our SETTINGS asks
// for it, so by its section 5.1 QUIC's limits alone apply, whatever the peer
// says, and a connection carries one session. Chromium does not know it at all.
//
// A bare section number means draft-ietf-moq-transport-18.
package transport
