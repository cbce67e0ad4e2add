// Package fidelity holds the relay to what a publisher did with each of its
// streams, over QUIC and WebTransport: no reset becomes a FIN, nothing comes
// twice, nothing is invented, whatever way a viewer takes to the objects.
package fidelity
