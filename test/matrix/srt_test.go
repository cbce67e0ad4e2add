package matrix_test

import (
	"fmt"
	"os/exec"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// srtRows are those of SRT. On a network that loses nothing, and from an encoder
// that waits until all is sent, what comes out is what went in.
func srtRows() []row {
	const short, long = 2 * time.Second, 12 * time.Second
	clips := []clip{
		{video: "h264", audio: "aac", bframes: 2, length: short},
		{video: "h264", audio: "aac"},
		{video: "h264", audio: "aac", bframes: 2, gop: 2 * time.Second, length: long},
		{video: "h264", audio: "aac", bframes: 2, gop: 10 * time.Second, length: long},
		{video: "h264", audio: "opus", bframes: 2, length: short},
		{video: "hevc", audio: "aac", bframes: 2, length: short},
		{video: "hevc", audio: "opus", bframes: 2, gop: 2 * time.Second, length: long},
		{video: "hevc", audio: "aac", bframes: 2, gop: 10 * time.Second, length: long},
		{video: "h264", length: short},
		{video: "hevc"},
		{audio: "aac", length: short},
		{audio: "opus"},
	}
	var list []row
	for i, c := range clips {
		core := i == 0 || i == 4 || i == 5 || c.video == "h264" && c.audio == "" || c.video == "" && c.audio == "aac"
		// Of HEVC, ffmpeg repeats the SEI of the configuration in front of each
		// random access point: the pictures are the same, their bytes are not.
		list = append(list, row{protocol: "SRT (ffmpeg)", clip: c, send: pushSRT, core: core, relayed: c.video == "hevc"})
	}
	return append(list,
		row{protocol: "SRT (srt-live-transmit)", clip: clips[0], send: transmitSRT, core: true},
		row{protocol: "SRT (srt-live-transmit)", clip: clips[3], send: transmitSRT},
		row{protocol: "SRT pull (from ffmpeg)", clip: clips[0], send: pullSRT, core: true},
		row{protocol: "SRT pull (from ffmpeg)", clip: clips[2], send: pullSRT},
	)
}

// sendTS are ffmpeg's arguments to send the clip in real time. A transport stream
// has start codes, delimiters and parameter sets where MP4 has none; what comes
// out of it is the clip again, byte for byte.
func sendTS(file, url string) []string {
	return []string{"-re", "-i", file, "-map", "0", "-c", "copy", "-f", "mpegts", url}
}

func pushSRT(w *world, name, file string) string {
	w.Helper()
	push := harness.FFmpeg(w.T, sendTS(file, "srt://"+w.d.SRT+"?streamid=publish:"+name+"&pkt_size=1316&linger=3")...)
	if err := push.Wait(time.Minute); err != nil {
		w.Fatalf("ffmpeg: %v\n%s", err, push.Log())
	}
	return file
}

// transmitSRT lets srt-live-transmit take UDP from ffmpeg, and send it on.
func transmitSRT(w *world, name, file string) string {
	w.Helper()
	in := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(w.T))
	cmd := exec.Command(harness.Tool(w.T, "srt-live-transmit"), "-q", "-chunk:1316", "udp://"+in+"?rcvbuf=4000000",
		"srt://"+w.d.SRT+"?mode=caller&streamid=#!::r="+name+",m=publish")
	forward := harness.StartProc(w.T, "srt-live-transmit", cmd)
	w.d.WaitLog(literal(`"SRT connection accepted","broadcast":"`+name), 10*time.Second)
	push := harness.FFmpeg(w.T, sendTS(file, "udp://"+in+"?pkt_size=1316")...)
	if err := push.Wait(time.Minute); err != nil {
		w.Fatalf("ffmpeg: %v\n%s", err, push.Log())
	}
	time.Sleep(500 * time.Millisecond) // nothing tells what is still on its way through it
	if _, err := forward.Stop(); err != nil {
		w.Logf("srt-live-transmit: %v", err)
	}
	return file
}

// pullSRT lets ffmpeg listen, and a publisher call it.
func pullSRT(w *world, name, file string) string {
	w.Helper()
	at := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(w.T))
	serve := harness.FFmpeg(w.T, sendTS(file, "srt://"+at+"?mode=listener&pkt_size=1316&linger=3&passphrase=0123456789abcdef")...)
	pull := w.command("publish", "--relay", "moqt://"+w.d.MoQ, "--cert-sha256", w.d.CertHash(w.T), "--namespace", "stream/local/"+name,
		"srt://"+at+"?passphrase=0123456789abcdef&latency=200")
	if err := serve.Wait(time.Minute); err != nil {
		w.Fatalf("ffmpeg: %v\n%s\n%s", err, serve.Log(), pull.Log())
	}
	if err := pull.Wait(15 * time.Second); err == nil {
		w.Errorf("publish took the end of the connection for the end of the stream: %s", pull.Log())
	}
	return file
}
