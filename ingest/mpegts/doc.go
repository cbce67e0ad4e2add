// Package mpegts reads MPEG transport streams and feeds a cmaf.Broadcast: the
// segments of an HLS presentation, the payload of SRT, a file.
//
// A Demuxer is pushed, like cmaf.Demuxer: Write takes bytes in pieces of any
// size and hands on each picture and audio frame when it is known to be whole.
// One program is taken, of which H.264, HEVC, AAC in ADTS and Opus; codecOf is the
// table. SCTE-35 and KLV become events at their times.
//
// # What becomes of the media
//
// A video sample is an access unit with four-byte NAL unit lengths in place of
// start codes. Access unit delimiters and filler are left out, parameter sets
// stand in the header; when they change, the track is added again under its
// name, at the random access point that brings them. The 33-bit times are
// unwrapped and otherwise kept to the tick: the timescale of video is 90 kHz.
// Audio is timed by counting its samples in a timescale of its sample rate,
// and held to the PTS within 30 ms, because a PTS rounds and jitters.
//
// # What is tolerated
//
// Transport streams come from the middle of something, over networks that lose
// packets. Bytes between packets are skipped; a unit with a hole is dropped, never
// passed on; media before a video's first random access point is dropped. Stats
// counts all of it. What no later byte can mend is an error: several programs,
// none that can be carried, or bytes that are no transport stream.
//
// # Why this demultiplexer is our own
//
// The reader of bluenviron/mediacommon, over go-astits, was meant for this and
// is what the tests compare with. It holds a PES packet of any size, probes at
// most 1 MiB ahead for the first audio, fails for good when that frame has a
// CRC or began in the packet before, takes the first of several programs
// unasked, and passes on units with lost packets inside; none of that can be
// changed from outside.
//
// Sources: ISO/IEC 13818-1 (packets 2.4.3.2, adaptation field 2.4.3.4, PES
// 2.4.3.6, sections 2.4.4, descriptors 2.6), ISO/IEC 14496-10 and 23008-2
// Annex B, ISO/IEC 14496-15 (avc1, hvc1), ISO/IEC 14496-3 section 1.A.2 (ADTS).
package mpegts
