package matrix_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// rtmpRows are those of RTMP, which loses nothing: what comes out is what went
// in, byte for byte. Its times are of milliseconds.
func rtmpRows() []row {
	const short, long = 2 * time.Second, 12 * time.Second
	flv := []clip{
		{video: "h264", audio: "aac", bframes: 2, length: short},
		{video: "h264", audio: "aac"},
		{video: "h264", audio: "aac", bframes: 2, gop: 2 * time.Second, length: long},
		{video: "h264", audio: "aac", bframes: 2, gop: 10 * time.Second, length: long},
		{video: "h264", length: short},
		{audio: "aac", length: short},
	}
	var list []row
	for i, c := range flv {
		list = append(list, row{protocol: "RTMP (ffmpeg)", clip: c, send: pushRTMP("rtmp"), core: i == 0 || c.video == "" || c.audio == ""})
	}
	list = append(list, row{protocol: "RTMPS (ffmpeg)", clip: flv[0], send: pushRTMP("rtmps"), core: true})
	enhanced := []clip{
		{video: "h264", audio: "opus", bframes: 2},
		{video: "hevc", audio: "aac", bframes: 2, length: short},
		{video: "hevc", audio: "opus", bframes: 2, gop: 2 * time.Second, length: long},
		{video: "hevc", audio: "aac", bframes: 2, gop: 10 * time.Second, length: long},
		{video: "av1", audio: "opus", length: short},
		{video: "av1", audio: "aac", gop: 10 * time.Second, length: long},
		{video: "vp9", audio: "opus", length: short},
		{video: "vp9", audio: "aac", gop: 2 * time.Second, length: long},
		{video: "h264", audio: "flac"},
		{video: "h264", audio: "ac3"},
		{video: "hevc"},
		{video: "av1"},
		{video: "vp9"},
		{audio: "opus"},
		{audio: "flac"},
		{audio: "ac3"},
		{video: "h264", audio: "aac", ladder: true, length: short},
		{video: "hevc", audio: "aac", ladder: true, bframes: 2},
	}
	for i, c := range enhanced {
		core := i == 1 || i == 4 || i == 6 || c.ladder && c.video == "h264"
		list = append(list, row{protocol: "Enhanced RTMP (gortmplib)", clip: c, send: sendEnhanced, core: core})
	}
	return list
}

// command runs a subcommand of broadcastd.
func (w *world) command(args ...string) *harness.Proc {
	w.Helper()
	cmd := exec.Command(harness.Build(w.T), args...)
	cmd.Dir = w.dir
	return harness.StartProc(w.T, "broadcastd "+args[0], cmd)
}

// pushRTMP lets ffmpeg push the clip in real time, and into a file as it goes.
func pushRTMP(scheme string) func(*world, string, string) string {
	return func(w *world, name, file string) string {
		w.Helper()
		sent := filepath.Join(w.dir, "sent.flv")
		url := fmt.Sprintf("rtmp://%s/live/%s", w.d.RTMP, name)
		if scheme == "rtmps" {
			url = fmt.Sprintf("rtmps://%s/live/%s", w.d.RTMPS, name)
		}
		push := harness.FFmpeg(w.T, "-re", "-i", file, "-map", "0", "-c", "copy", "-f", "flv", url, "-map", "0", "-c", "copy", "-f", "flv", sent)
		if err := push.Wait(time.Minute); err != nil {
			w.Fatalf("ffmpeg: %v\n%s", err, push.Log())
		}
		return sent
	}
}
