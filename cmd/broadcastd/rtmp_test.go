package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/internal/config"
)

func TestRTMPAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &server{on: listeners{rtmps: l}}
	r := httptest.NewRequest(http.MethodGet, "http://live.example:8080/", nil)
	want := "rtmps://live.example:" + portOf(l.Addr()) + "/live/lv_1"
	if urls := s.publishURLs(r, "lv_1"); urls["rtmp"] != "" || urls["rtmps"] != want {
		t.Errorf("%v, want %s and no rtmp", urls, want)
	}
	if lines := s.rtmpLines("cam"); lines != "" {
		t.Errorf("RTMP is off, and the greeting says %s", lines)
	}
	s.on.rtmp = l
	if lines := s.rtmpLines("cam"); !strings.Contains(lines, "-f flv rtmp://"+l.Addr().String()+"/live/cam") {
		t.Errorf("the greeting says %s", lines)
	}
}

func TestPullsOfRTMP(t *testing.T) {
	for url, says := range map[string]string{
		"rtmp://origin.example/live/cam?key=k": "", "rtmps://origin.example:8443/live/cam": "",
		"rtmp://origin.example/cam": "want APP/STREAM", "rtmp://me:secret@origin.example/live/cam": "not supported",
	} {
		err := checkPulls([]config.Pull{{Name: "cam", URL: url}})
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
	}
}
