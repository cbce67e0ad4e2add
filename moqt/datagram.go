package moqt

import "github.com/broadcastd/broadcastd/moqt/wire"

// datagram takes a datagram. Nothing that we ask for comes in datagrams yet,
// and a receiver may drop objects that do (section 11.3).
func (c *core) datagram(b []byte) error {
	t, err := wire.ParseDatagramType(b)
	if err != nil || t == wire.DatagramPadding {
		return err
	}
	if _, err := wire.ParseDatagram(b); err != nil {
		return err
	}
	c.do(actCount{kindDatagram, outcomeDropped})
	return nil
}
