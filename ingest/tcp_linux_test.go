package ingest

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

func TestTCPStats(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	stats := TCPStats(tls.Server(server, &tls.Config{})) //nolint:gosec // it is not used
	if st := stats(); st.RTT <= 0 || st.RTT > time.Second || st.Bytes != 1000 {
		t.Errorf("stats = %+v, want an RTT and 1000 bytes", st)
	}
	server.Close()
	if st := stats(); st != (PeerStats{}) {
		t.Errorf("after the end %+v, want none", st)
	}
	if pipe, _ := net.Pipe(); TCPStats(pipe) != nil {
		t.Error("a pipe has statistics")
	}
}
