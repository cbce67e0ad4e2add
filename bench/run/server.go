package run

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/mediamtx"
)

// A serverProcess is the server of a run.
type serverProcess struct {
	process   *process
	pid       int
	target    load.Target
	admin     string
	listening time.Duration
}

// startServer starts the server of an arm, with its files in dir.
func startServer(ctx context.Context, cfg Config, arm Arm, dir string) (*serverProcess, error) {
	j := job{Role: roleServe, Arm: arm, Dir: dir}
	s := &serverProcess{target: load.Target{Party: arm.Party, Input: arm.Input}}
	var mtx mediamtx.Server
	switch arm.Party {
	case load.Ceiling:
		j.Role = roleCeiling
	case load.MediaMTX:
		var err error
		if mtx, err = mediamtx.Configure(dir); err != nil {
			return nil, err
		}
		j.Path, j.Args, j.Ready = cfg.MediaMTX, mtx.Args, mtx.Ready
	default:
		const free = "127.0.0.1:0"
		serve := cfg.Command("serve", "--state-dir", filepath.Join(dir, "state"), "--log.format", "json", "--log.level", "info",
			"--http.listen", free, "--moq.listen", free, "--admin.listen", free, "--rtmp.listen", free, "--rtmps.listen", "")
		j.Path, j.Args, j.Ready = serve.Path, serve.Args[1:], `"msg":"listening"`
	}
	self := cfg.childCommand()
	var err error
	if s.process, err = startProcess(self, j); err != nil {
		return nil, err
	}
	m, err := s.process.await(ctx, eventReady, startTimeout)
	if err != nil {
		s.process.stop()
		return nil, err
	}
	s.pid, s.listening = m.Pid, m.Listening
	switch arm.Party {
	case load.Ceiling:
		s.target.Addr, s.target.HTTP, s.admin = m.Addr, m.Admin, m.Admin
	case load.MediaMTX:
		s.target.Addr, s.target.RTMP, s.admin = mtx.Addr, mtx.RTMP, mtx.Admin
	default:
		var line struct{ HTTP, MoQ, Admin, RTMP string }
		if err := json.Unmarshal([]byte(m.Line), &line); err != nil || line.MoQ == "" || line.Admin == "" {
			s.process.stop()
			return nil, fmt.Errorf("run: the server says where it listens in a way that is not understood: %s", m.Line)
		}
		s.target.Addr, s.target.HTTP, s.target.RTMP, s.admin = line.MoQ, line.HTTP, line.RTMP, line.Admin
	}
	return s, nil
}

// childCommand makes the command of a child.
func (c Config) childCommand() *exec.Cmd { return c.Command("bench", "child") }
