package load

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Profile is what a publisher sends: tracks of timed objects in groups that
// begin at the same times.
type Profile struct {
	Name   string
	About  string // for people, half a line
	Group  time.Duration
	Tracks []Track
}

// A Track is one track of a profile.
type Track struct {
	Name string
	// Count objects come in each Per, evenly spaced; the first is due at once.
	Count int
	Per   time.Duration
	// First is the payload of each group's first object in bytes, Size that of
	// the others.
	First, Size int
	Priority    uint8 // the publisher's, lower first
	// Video is made of pictures that need those before them in their group.
	Video bool
}

// Profiles are those that ProfileNamed finds.
func Profiles() []Profile {
	// AAC: 1024 samples of 48 kHz each, at 128 kbit/s.
	audio := Track{Name: "audio", Count: 375, Per: 8 * time.Second, First: 341, Size: 341, Priority: 16}
	return []Profile{{
		Name:  "tv",
		About: "30 fps at 5 Mbit/s in 1 s groups, key frames 8 times the others, audio at 128 kbit/s",
		Group: time.Second,
		Tracks: []Track{
			// 135 136 + 29 * 16 892 bytes are 5 Mbit.
			{Name: "video", Count: 30, Per: time.Second, First: 135_136, Size: 16_892, Priority: 64, Video: true},
			audio,
		},
	}, {
		Name:   "bench60",
		About:  "60 fps, every frame 4 KB, in 1 s groups, no audio: what moq-bench sends",
		Group:  time.Second,
		Tracks: []Track{{Name: "video", Count: 60, Per: time.Second, First: 4096, Size: 4096, Priority: 64, Video: true}},
	}, {
		Name:   "audio",
		About:  "audio alone: 46.9 objects a second at 128 kbit/s",
		Group:  time.Second,
		Tracks: []Track{audio},
	}, {
		Name:   "chat",
		About:  "20 messages of 200 bytes a second, each a group of its own",
		Group:  50 * time.Millisecond,
		Tracks: []Track{{Name: "chat", Count: 20, Per: time.Second, First: 200, Size: 200, Priority: 32}},
	}}
}

// ProfileNamed returns one of the built-in profiles.
func ProfileNamed(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("there is no profile %q, but %s", name, strings.Join(names, ", "))
}

// Track returns the index of the named track, -1 if there is none.
func (p Profile) Track(name string) int {
	return slices.IndexFunc(p.Tracks, func(t Track) bool { return t.Name == name })
}

// at returns when object i is due, from the start of the schedule.
func (t Track) at(i int) time.Duration {
	return time.Duration(i/t.Count)*t.Per + time.Duration(i%t.Count)*t.Per/time.Duration(t.Count)
}

// Before returns how many objects are due before d.
func (t Track) Before(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	n := int(d/t.Per)*t.Count + int(d%t.Per*time.Duration(t.Count)/t.Per)
	for t.at(n) < d {
		n++
	}
	return n
}

// group returns the group that object i belongs to and its first object.
func (p Profile) group(t Track, i int) (group uint64, first int) {
	g := t.at(i) / p.Group
	return uint64(g), t.Before(g * p.Group)
}

// Size returns the payload of object i in bytes.
func (p Profile) Size(t Track, i int) int {
	if _, first := p.group(t, i); i == first {
		return t.First
	}
	return t.Size
}

// A Window is the part of a schedule that is measured. What comes before it
// lets connections and buffers grow to their size.
type Window struct{ From, To time.Duration }

// in returns the objects of t that lie in w: from first up to end.
func (w Window) in(t Track) (first, end int) { return t.Before(w.From), t.Before(w.To) }

// Expected returns what one viewer has to get within w.
func (w Window) Expected(p Profile) (objects, bytes int64) {
	for _, t := range p.Tracks {
		first, end := w.in(t)
		for i := first; i < end; i++ {
			objects++
			bytes += int64(p.Size(t, i))
		}
	}
	return objects, bytes
}
