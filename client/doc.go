// Package client is the typed Go client of broadcastd: of its API, /api/v1, and
// of its media, which publishers write and viewers read over MoQ.
//
// # Control
//
// A Client has one field for each kind of resource:
//
//	c, err := client.New(client.Config{URL: "https://live.example:8080", Key: key})
//	made, err := c.LiveInputs.Create(ctx, client.NewLiveInput{Name: "Studio 1"})
//	url, err := c.LiveInputs.PlaybackURL(ctx, made.ID, client.PlaybackOptions{TTL: time.Hour})
//
// Every call may be repeated by the client itself, with growing pauses, as long
// as a repetition cannot do harm: calls that create carry an Idempotency-Key, so
// that the server answers the second one with what the first one made.
//
// An answer that refuses is an *Error, to branch on with errors.Is and ErrNotFound
// and its like. That no answer came is ErrUnreachable.
//
// # Media
//
// A BroadcastPublisher sends fragmented MP4 into a live input, chunk by chunk; a
// BroadcastViewer hands on what a signed URL plays, the header first. Both come
// back by themselves after the network was lost, and say at the end why they
// ended, with a CloseReason.
package client
