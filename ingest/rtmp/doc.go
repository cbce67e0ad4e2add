// Package rtmp takes RTMP in: encoders that publish to a Server, over TCP or
// TLS, and remote servers that a Puller plays from. Either becomes CMAF with
// nothing encoded anew: H.264, HEVC, AV1, VP9, AAC, Opus, FLAC, AC-3 and
// E-AC-3, the newer ones by Enhanced RTMP, several tracks of a kind by its
// multitrack messages.
//
// # Names and keys
//
// An encoder publishes to rtmp://HOST/live/NAME?sk=KEY. Software that asks for
// server and stream key takes rtmp://HOST/live and NAME?sk=KEY. The key may
// also stand in the query of the server's URL, and as the password in
// user=…&pass=KEY. See Attempt.
//
// # Times
//
// Timestamps count milliseconds in 32 bits; they are unwrapped. Video keeps
// them, to the nanosecond where the encoder sends that (ModEx), and lasts until
// the next picture. Audio, whose frames do not last whole milliseconds, counts
// its samples, and is held to the timestamps where the two part. A jump is
// told as a discontinuity, never smoothed over.
//
// # Bounds
//
// A connection has Config.Handshake to begin publishing, and until then sends
// no message of more than 64 KiB. The chunk stream is read here rather than by
// gortmplib, whose reader bounds neither the memory of unfinished messages nor
// the depth of AMF, and takes the connection down over messages it has no use
// for; handshake and writing are its own.
//
// Sources: Adobe's RTMP 1.0 specification; Enhanced RTMP (v2); the FLV file
// format version 10.1.
package rtmp
