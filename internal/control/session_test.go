package control_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

func TestSessionStates(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	in := func(status string) string {
		r, err := s.CreateSession(ctx, control.NewSession{})
		path := map[string][]string{"live": {"live"}, "paused": {"live", "paused"}, "ended": {"ended"}}[status]
		for _, step := range path {
			if err == nil {
				r, err = s.PatchSession(ctx, r.ID, 0, control.SessionPatch{Status: step})
			}
		}
		if err != nil || r.Status != status {
			t.Fatalf("a session that is %s: %+v, %v", status, r, err)
		}
		return r.ID
	}
	all := []string{control.SessionIdle, control.SessionLive, control.SessionPaused, control.SessionEnded}
	ok := map[string]bool{
		"idle live": true, "idle ended": true, "live paused": true, "live ended": true, "paused live": true, "paused ended": true,
		"idle idle": true, "live live": true, "paused paused": true, "ended ended": true, // nothing changes
	}
	for _, from := range all {
		for _, to := range append(all, "gone") {
			r, err := s.PatchSession(ctx, in(from), 0, control.SessionPatch{Status: to})
			if ok[from+" "+to] {
				if err != nil || r.Status != to {
					t.Errorf("%s to %s: %s, %v", from, to, r.Status, err)
				}
				continue
			}
			wantCode(t, from+" to "+to, err, control.Invalid)
			if text := fmt.Sprint(err); !strings.Contains(text, from) || !strings.Contains(text, to) {
				t.Errorf("%s to %s: %v names not both", from, to, err)
			}
		}
	}
	for status, want := range map[string]control.Code{"idle": 0, "live": control.Conflict, "paused": 0, "ended": 0} {
		id := in(status)
		_, err := s.DeleteSession(ctx, id)
		wantCode(t, "DeleteSession of one that is "+status, err, want)
		_, err = s.Session(ctx, id)
		if gone := control.CodeOf(err) == control.NotFound; gone != (want == 0) {
			t.Errorf("%s: Session after its deletion: %v", status, err)
		}
	}
}

func TestPatchSession(t *testing.T) {
	s, ctx := controltest.New(t), t.Context()
	r, err := s.CreateSession(ctx, control.NewSession{
		Protocol: "srt", Metadata: map[string]any{"a": "1", "b": map[string]any{"c": 1.5}}, Custom: map[string]any{"x": true},
		Quality: control.Quality{MaxBitrate: 100, TargetLatency: 50},
	})
	if err != nil {
		t.Fatal(err)
	}
	patched, err := s.PatchSession(ctx, r.ID, r.Revision, control.SessionPatch{
		Quality:  control.QualityPatch{TargetLatency: new(200), Adaptive: new(true)},
		Metadata: map[string]any{"a": nil, "d": []any{"e"}, "none": nil}, Custom: map[string]any{"x": nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(patched.Quality.TargetLatency, patched.Quality.MaxBitrate, *patched.Quality.Adaptive, patched.Metadata, patched.Custom)
	if want := "200 100 true map[b:map[c:1.5] d:[e]] map[]"; got != want {
		t.Errorf("after the patch %s, want %s", got, want)
	}
	_, err = s.PatchSession(ctx, r.ID, r.Revision, control.SessionPatch{Status: "live"})
	wantCode(t, "PatchSession of an old revision", err, control.Precondition)
	patched.Metadata["b"].(map[string]any)["c"] = "spoilt"
	*patched.Quality.Adaptive = false
	again, err := s.PatchSession(ctx, r.ID, 0, control.SessionPatch{Quality: control.QualityPatch{MaxBitrate: new(0), NoAdaptive: true}})
	if err != nil || again.Quality.MaxBitrate != 0 || again.Quality.Adaptive != nil || fmt.Sprint(again.Metadata) != "map[b:map[c:1.5] d:[e]]" {
		t.Errorf("after another patch %+v, %v", again, err)
	}
	many := make(map[string]any)
	for i := range 300 {
		many[fmt.Sprint(i)] = i
	}
	for name, p := range map[string]control.SessionPatch{
		"quality.targetLatency": {Quality: control.QualityPatch{TargetLatency: new(-1)}},
		"quality.maxBitrate":    {Quality: control.QualityPatch{MaxBitrate: new(1_000_001)}},
		"metadata":              {Metadata: many},
		"customProperties":      {Custom: map[string]any{"x": strings.Repeat("x", 17<<10)}},
	} {
		_, err := s.PatchSession(ctx, r.ID, 0, p)
		if wantCode(t, name, err, control.Invalid); err != nil && !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("%v, want it to name %s", err, name)
		}
	}
	_, err = s.PatchSession(ctx, "sess_none", 0, control.SessionPatch{})
	wantCode(t, "PatchSession of none", err, control.NotFound)
}

// TestRun takes an input through its runs: one that was made ahead, one that
// came by itself, one that failed.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := controltest.New(t), t.Context()
		in, _ := newInput(t, s, control.InputSettings{})
		status := func(want string) {
			t.Helper()
			if got, err := s.Input(ctx, in.ID); err != nil || got.Status != want {
				t.Errorf("the input is %s, %v, want %s", got.Status, err, want)
			}
		}
		ahead, err := s.CreateSession(ctx, control.NewSession{Input: in.ID, Protocol: "rtmp", Metadata: map[string]any{"a": 1}})
		if err != nil || ahead.Input != in.External || ahead.Status != control.SessionIdle {
			t.Fatalf("CreateSession = %+v, %v", ahead, err)
		}
		status(control.InputIdle)
		other, err := s.SessionStarted(ctx, in.External, auth.SRT) // is none of that protocol
		if err != nil || other.ID == ahead.ID {
			t.Errorf("SessionStarted over srt = %+v, %v, want a session of its own", other, err)
		}
		time.Sleep(time.Minute)
		run, err := s.SessionStarted(ctx, in.External, auth.RTMP)
		if err != nil || run.ID != ahead.ID || run.Status != control.SessionLive || !run.Started.Equal(time.Now()) {
			t.Errorf("SessionStarted = %+v, %v, want %s", run, err, ahead.ID)
		}
		status(control.InputLive)
		if beside, err := s.SessionStarted(ctx, in.External, auth.RTMP); err != nil || beside.ID == run.ID {
			t.Errorf("SessionStarted while another runs = %+v, %v, want a session of its own", beside, err)
		} else if err := s.SessionEnded(ctx, beside.ID, control.EndReplaced, 0); err != nil {
			t.Error(err)
		}
		for _, id := range []string{other.ID, run.ID} {
			time.Sleep(time.Minute)
			if err := s.SessionEnded(ctx, id, control.EndFinished, 7); err != nil {
				t.Fatal(err)
			}
		}
		ended, err := s.Session(ctx, run.ID)
		if err != nil || ended.Status != control.SessionEnded || ended.PeakViewers != 7 || ended.Duration(time.Now()) != 2*time.Minute {
			t.Errorf("at the end %+v, %v, %v", ended, ended.Duration(time.Now()), err)
		}
		status(control.InputIdle)

		next, err := s.SessionStarted(ctx, in.External, auth.WHIP)
		if err != nil || next.ID == run.ID || next.Protocol != "webrtc" {
			t.Errorf("SessionStarted again = %+v, %v", next, err)
		}
		// It is ended by the API, and then what feeds it goes too.
		if _, err := s.PatchSession(ctx, next.ID, 0, control.SessionPatch{Status: control.SessionEnded}); err != nil {
			t.Fatal(err)
		}
		if err := s.SessionEnded(ctx, next.ID, control.EndError, 3); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Session(ctx, next.ID); err != nil || r.EndReason != control.EndClosed || r.PeakViewers != 3 {
			t.Errorf("a session that was ended by the API: %+v, %v", r, err)
		}
		last, err := s.SessionStarted(ctx, in.External, auth.WHIP)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SessionEnded(ctx, last.ID, control.EndError, 0); err != nil {
			t.Fatal(err)
		}
		status(control.InputErrored)
		if _, err := s.DeleteSession(ctx, last.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.SessionEnded(ctx, last.ID, control.EndError, 0); err != nil {
			t.Errorf("SessionEnded of a deleted one: %v", err)
		}
		status(control.InputIdle)
		adHoc, err := s.SessionStarted(ctx, "cam", auth.FMP4)
		if err != nil || adHoc.Namespace != "stream/local/cam" {
			t.Errorf("SessionStarted of an ad-hoc name = %+v, %v", adHoc, err)
		}
		_, err = s.SessionStarted(ctx, "nobody/cam", auth.FMP4)
		wantCode(t, "SessionStarted in no organisation", err, control.NotFound)
		list, err := s.Sessions(ctx, control.Filter{Org: "local", Input: in.External, Status: "ended"}, control.Page{})
		if err != nil || len(list.Items) != 4 {
			t.Errorf("%d sessions of the input ended, %v, want 4", len(list.Items), err)
		}
	})
}

// TestInterrupted: what runs when the daemon is killed has ended when it is back.
func TestInterrupted(t *testing.T) {
	st := memstore.New(nil)
	s, ctx := controltest.Open(t, control.Config{Store: st}), t.Context()
	live, err := s.SessionStarted(ctx, "cam", auth.RTMP)
	if err != nil {
		t.Fatal(err)
	}
	idle, err := s.CreateSession(ctx, control.NewSession{Input: "cam", Protocol: "srt"})
	if err != nil {
		t.Fatal(err)
	}
	s = controltest.Open(t, control.Config{Store: st})
	if r, err := s.Session(ctx, live.ID); err != nil || r.Status != control.SessionEnded || r.EndReason != control.EndInterrupted {
		t.Errorf("a live session after a restart: %+v, %v", r, err)
	}
	if r, err := s.Session(ctx, idle.ID); err != nil || r.Status != control.SessionIdle {
		t.Errorf("an idle session after a restart: %+v, %v", r, err)
	}
}

// TestSessionsKept: the oldest that ended make room, then those that never began,
// and never one that runs.
func TestSessionsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := controltest.Open(t, control.Config{Limits: control.Limits{Sessions: 3}}), t.Context()
		names := make(map[string]string) // by id
		ahead := func(name string) error {
			time.Sleep(time.Second)
			r, err := s.CreateSession(ctx, control.NewSession{Input: name})
			names[r.ID] = name
			return err
		}
		start := func(name string) control.Session {
			t.Helper()
			time.Sleep(time.Second)
			r, err := s.SessionStarted(ctx, name, auth.RTMP)
			if err != nil {
				t.Fatal(err)
			}
			names[r.ID] = name
			return r
		}
		kept := func(want string) {
			t.Helper()
			list, err := s.Sessions(ctx, control.Filter{}, control.Page{})
			var got []string
			for _, r := range list.Items {
				got = append(got, names[r.ID])
			}
			if err != nil || strings.Join(got, " ") != want {
				t.Errorf("kept %q, %v, want %q", got, err, want)
			}
		}
		if err := ahead("idle"); err != nil {
			t.Fatal(err)
		}
		first := start("first")
		start("second")
		kept("idle first second")
		if err := s.SessionEnded(ctx, first.ID, control.EndFinished, 0); err != nil {
			t.Fatal(err)
		}
		start("third")
		kept("idle second third")
		start("fourth")
		kept("second third fourth")
		wantCode(t, "a session where all run", ahead("fifth"), control.Exhausted)
		kept("second third fourth")
	})
}
