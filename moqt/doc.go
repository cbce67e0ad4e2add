// Package moqt runs MoQT sessions (draft-ietf-moq-transport-18) over a [Conn],
// as client or server, publisher and subscriber.
//
// A [Session] has three parts. The core (core.go and what it calls) is the state
// of the session: a step function from events to actions, without goroutine,
// clock, lock or I/O, that can be replayed and fuzzed. The driver runs it: one
// loop takes what readers, timers and the application report, one event at a
// time, and carries out the actions; it never waits for the peer. The egress
// (egress*.go) decides in which order tracks are sent.
//
// # Streams
//
// Each inbound request stream has a reader that passes on bytes; the core parses
// the messages. Each inbound data stream has a reader that parses the header,
// asks the core which track it belongs to, and then copies straight into the
// track, so that objects are passed on while they still arrive. A data stream
// whose alias is not known yet is not read any further until it is, or for two
// seconds.
//
// # Bounds
//
// [Limits] lists what one peer can make a session hold. A request beyond them is
// refused with EXCESSIVE_LOAD, a stream is reset or stopped with it; the session
// goes on. Only a violation of the draft closes it.
package moqt
