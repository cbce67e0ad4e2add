// Package wire turns the messages, stream headers and datagrams of Media over
// QUIC Transport into bytes and back.
//
// It implements draft-ietf-moq-transport-18 (version token "moqt-18"). A bare
// section number in this package means that draft.
//
// The package is pure: no I/O, clock, goroutine or log. Every structure has an
// Append method, which extends a slice and cannot fail, and a Parse function.
// There are three kinds of parser:
//
//   - Message bodies (ParseSubscribe and the like) take exactly one body, as
//     ParseFrame cuts it out of a stream. They reject leftover bytes, and the
//     result never aliases the body.
//   - Stream parsers (ParseVarint, ParseFrame, ParseSubgroupHeader,
//     ParseObjectHeader, FetchReader) take what has arrived so far, return how
//     many bytes they used, and return ErrShort when more bytes are needed.
//     Results alias the input. They do not allocate.
//   - Datagrams (ParseDatagram) take one whole datagram; the result aliases it.
//     It does not allocate.
//
// Whatever else is wrong is an *Error, which names the session code to close
// with. Rules that need to know more than the bytes (who is the server, which
// request IDs were used, what a subscription covers) are the session's.
//
// # House limits
//
// The draft leaves some sizes open. A peer that exceeds one of these is told
// INTERNAL_ERROR: MaxObjectProperties bytes of properties on one object,
// MaxTokens authorization tokens in one message. Of the setup options that the
// draft tells us to ignore, the first MaxOtherOptions are kept. A duration
// beyond what time.Duration can hold is cut to the largest one.
package wire
