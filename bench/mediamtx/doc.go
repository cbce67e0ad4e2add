// Package mediamtx builds MediaMTX from its Go module, runs it, and talks to it,
// to be compared with.
//
// MediaMTX speaks a subset of MoQ Transport draft-18 with rules of its own
// (internal/servers/moq of its source): one path for each session, named by the
// PATH of SETUP; a catalog track ".catalog" that is published and subscribed to
// before all others; tracks named by their number; media as LOC, which it
// parses and writes anew; each frame a group and a stream of its own, which
// holds one object and an end of group; SUBSCRIBE and PUBLISH, and no other
// requests. Package load's profiles are sent to it in that way, as H.264 and AAC.
package mediamtx

// Module and Version are what is built.
const (
	Module  = "github.com/bluenviron/mediamtx"
	Version = "v1.21.0"
)
