// Package cmaf holds live media as CMAF: the header, chunk, fragment and
// track of ISO/IEC 23000-19, media time, and the joint between what produces
// media and what takes it (Broadcast and Sink). It knows no network and no clock.
//
// # Reading
//
// A Demuxer takes any fragmented MP4 byte stream, in pieces of any size, and
// feeds a Broadcast: one track per trak, samples cut anew into chunks of one
// picture or of some milliseconds, each as soon as its bytes are there. A
// Header's ParseChunks reads chunks that arrived whole, for instance as the
// payload of a MoQT object. Both refuse malformed input with a *BoxError that
// names box and offset, and neither believes a size before it has checked it.
//
// # Writing
//
// BuildInit writes the header of one or more tracks; Chunk.AppendTo writes a
// chunk. Every value a reader needs stands in the chunk itself: a 64-bit
// tfdt, and in trun the duration, size, flags and composition offset of every
// sample. Nothing is left to trex.
//
// # Time
//
// A chunk's times are on the presentation timeline of the input. An edit list
// in the input is applied to the decode times and not written again: with D
// the duration of a leading empty edit and M the media time of the edit after
// it, every decode time is moved by D - M, so that each sample keeps the
// presentation time that a player gave it, and tracks stay in sync. Decode
// times of a track with B-frames or encoder delay can therefore start below
// zero; a tfdt cannot, so whoever writes chunks first moves all tracks by one
// constant (publishers of live media add a whole number of seconds).
//
// # Codecs
//
// H.264 (avc1, avc3), HEVC (hvc1, hev1), AV1 (av01), VP9 (vp09), AAC (mp4a),
// Opus, FLAC (fLaC), AC-3 and E-AC-3 (ac-3, ec-3), at any bit depth. Package
// codec reads their configuration; a sample entry travels on byte for byte.
// NewHeader makes a header for inputs that have none of MP4.
//
// Sources: ISO/IEC 14496-12 (boxes), ISO/IEC 23000-19 (CMAF), RFC 6381 (codecs).
package cmaf
