package egress

import "github.com/broadcastd/broadcastd/moqt/track"

// A FetchReader reads a range of a track in the order of a FETCH response.
type FetchReader interface {
	// Next returns the next item if the state is FetchReady. FetchWait: it is
	// on its way, and the track notifies when to look again.
	Next() (FetchItem, FetchState)
	// GiveUp has what is on its way count as unknown.
	GiveUp()
}

// A FetchItem is an object, or a range without any.
type FetchItem struct {
	Kind   FetchKind
	Object track.Object
	To     track.Location // the last location of a range
}

// A FetchKind says what a FetchItem is.
type FetchKind uint8

// The kinds of item.
const (
	FetchObject FetchKind = iota
	FetchAbsent
	FetchUnknown
)

// A FetchState says whether there is an item.
type FetchState uint8

// What Next says.
const (
	FetchReady FetchState = iota
	FetchWait
	FetchEnd
)

func isDatagram(track.Object) bool { return false }
