package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A usage is what the kernel says that a process has used so far.
type usage struct {
	at           time.Time
	user, system time.Duration
	resident     int64  // bytes
	peak         int64  // bytes, the most that resident was
	switches     uint64 // context switches of the threads that there are
}

func (u usage) cpu() time.Duration { return u.user + u.system }

// tick is the unit of CPU time in /proc, which is 10 ms on every Linux that Go
// runs on (USER_HZ).
const tick = 10 * time.Millisecond

// readUsage reads the usage of process pid from /proc.
func readUsage(pid int) (u usage, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	u.at = time.Now()
	if errors.Is(err, os.ErrNotExist) && runtime.GOOS != "linux" {
		return u, errors.New("bench: measuring another process needs Linux's /proc")
	}
	if err != nil {
		return u, err
	}
	if u.user, u.system, err = parseStat(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	u.resident, u.peak = 1024*statusField(status, "VmRSS"), 1024*statusField(status, "VmHWM")
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "status"))
	if err != nil {
		return u, err
	}
	for _, name := range threads {
		if status, err := os.ReadFile(name); err == nil { // threads end
			u.switches += uint64(statusField(status, "voluntary_ctxt_switches") + statusField(status, "nonvoluntary_ctxt_switches"))
		}
	}
	return u, nil
}

// parseStat returns the CPU time in /proc/<pid>/stat (proc_pid_stat(5)).
func parseStat(stat []byte) (user, system time.Duration, err error) {
	// The second field, the name, is in parentheses and may contain anything.
	_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
	f := strings.Fields(string(rest)) // from the third on
	if !ok || len(f) < 13 {
		return 0, 0, fmt.Errorf("bench: /proc/PID/stat has only %d fields behind the name", len(f))
	}
	u, uerr := strconv.ParseInt(f[11], 10, 64)
	s, serr := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(u) * tick, time.Duration(s) * tick, errors.Join(uerr, serr)
}

// statusField returns the number in a line such as "VmRSS:  123 kB", 0 if there
// is none.
func statusField(status []byte, name string) int64 {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
			return n
		}
	}
	return 0
}

// loadAverage returns the machine's load over the last minute.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseFloat(strings.Fields(string(text) + " 0")[0], 64)
	return n
}

// A Machine is where a run took place.
type Machine struct {
	OS     string `json:"os"`
	Kernel string `json:"kernel,omitempty"`
	CPU    string `json:"cpu,omitempty"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

func thisMachine() Machine {
	m := Machine{OS: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}
