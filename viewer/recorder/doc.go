// Package recorder writes a broadcast to a fragmented MP4 file that stays
// playable whatever ends the process.
//
// # The file
//
//	ftyp moov            the CMAF headers of all tracks, track IDs 1, 2, …
//	moof mdat            one chunk of one track; again and again
//	mfra                 random access points of video, only after a clean end
//
// A file is only ever appended to, whole boxes at a time: some chunks together,
// up to 128 KiB, because small writes cost the kernel half as much again. A kill
// at any byte leaves whole chunks and at most one torn one at the end, which
// players pass over and Recover removes. What came is written and synced to the
// disk when a group ends, and at the latest a second after it came; what waits for
// that, at most those 128 KiB, is lost when the process is killed.
//
// # Times
//
// Media times are moved by one whole number of seconds, the same for all tracks
// and for all files of a recording, so that the earliest one lies in the first
// second. Differences, and the offset between tracks, are exactly those of the
// broadcast.
//
// # More than one file
//
// A file cannot change a track's header or take another track. When one comes,
// the recording goes on in NAME.2.mp4, then NAME.3.mp4, where NAME.mp4 is what
// was asked for; a number that exists is passed over, never overwritten. The
// cut lies at a random access point of video. A recording to an io.Writer
// cannot do that and ends with ErrHeaderChanged.
//
// Sources: ISO/IEC 14496-12 sections 8.8 (movie fragments) and 8.8.9 to 8.8.11
// (mfra).
package recorder
