package track

import "time"

// An Object is one object, to be written or as it was read.
type Object struct {
	// Group, Subgroup, Priority and Datagram are what a SubgroupWriter knows of
	// itself and ignores; a Filler and WriteDatagram need them. Priority is the
	// publisher's. Datagram is the object's forwarding preference; it has no
	// Subgroup then.
	Group, Subgroup uint64
	Priority        uint8
	Datagram        bool
	// EndOfGroup is the END_OF_GROUP bit of a datagram: the group has no object
	// after this one.
	EndOfGroup bool
	// Arrival is when the object's first byte came; for readers only.
	Arrival time.Time

	ID uint64
	// Status is ObjectNormal except for a mark that ends the group or the track.
	// A mark has neither properties nor payload.
	Status     ObjectStatus
	Properties Properties
	// Payload is shared by all readers: never write to it.
	Payload []byte
}

// Location returns the object's location, as read.
func (o Object) Location() Location { return Location{Group: o.Group, Object: o.ID} }
