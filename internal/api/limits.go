package api

// Limits bounds what clients may ask for. The zero value is the default.
type Limits struct {
	// Key is how many requests a second one API key may send on average, and
	// KeyBurst how many at once. Zero means 100 and 300.
	Key, KeyBurst float64
	// Address is the same for one address (an IPv6 one counts as its /64), all
	// its keys together. Zero means 200 and 600.
	Address, AddressBurst float64
	// Failed is how many refused credentials a second one address may show.
	// Zero means 5 and 50.
	Failed, FailedBurst float64
	// Clients is how many keys and addresses are told apart; past that the one
	// that has been quiet the longest is forgotten. Zero means 65536.
	Clients int
	// Body is the longest request body in bytes. Zero means 64 KiB.
	Body int64
	// Streams is how many event streams are open at a time, and KeyStreams how
	// many of one key. Zero means 1000 and 50.
	Streams, KeyStreams int
	// Replays is how many answers are kept for a repeated Idempotency-Key, and
	// ReplayBytes how long they are together. Zero means 10000 and 32 MiB.
	Replays, ReplayBytes int
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v    *float64
		zero float64
	}{
		{&l.Key, 100}, {&l.KeyBurst, 300}, {&l.Address, 200}, {&l.AddressBurst, 600}, {&l.Failed, 5}, {&l.FailedBurst, 50},
	} {
		if *d.v <= 0 {
			*d.v = d.zero
		}
	}
	for _, d := range []struct {
		v    *int
		zero int
	}{
		{&l.Clients, 1 << 16}, {&l.Streams, 1000}, {&l.KeyStreams, 50}, {&l.Replays, 10_000}, {&l.ReplayBytes, 32 << 20},
	} {
		if *d.v <= 0 {
			*d.v = d.zero
		}
	}
	if l.Body <= 0 {
		l.Body = 64 << 10
	}
	return l
}
