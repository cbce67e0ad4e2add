package proc

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

// A Usage is what the kernel says that a process has used so far.
type Usage struct {
	At           time.Time
	User, System time.Duration // in steps of 10 ms
	// OnCPU is the time that the threads which there are spent on a CPU, to the
	// nanosecond; 0 where the kernel does not say.
	OnCPU    time.Duration
	Resident int64  // bytes
	Peak     int64  // bytes, the most that Resident was
	Switches uint64 // context switches of the threads that there are
	Threads  int
}

// CPU is the time in user and kernel mode.
func (u Usage) CPU() time.Duration { return u.User + u.System }

// Since returns the CPU time since an earlier usage: as exactly as the kernel
// says, unless a thread has ended and taken its time along.
func (u Usage) Since(was Usage) time.Duration {
	coarse, exact := u.CPU()-was.CPU(), u.OnCPU-was.OnCPU
	if was.OnCPU > 0 && exact >= coarse-2*tick {
		return exact
	}
	return coarse
}

// tick is the unit of CPU time in /proc, which is 10 ms on every Linux that Go
// runs on (USER_HZ).
const tick = 10 * time.Millisecond

// Read reads the usage of process pid from /proc.
func Read(pid int) (u Usage, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	u.At = time.Now()
	if errors.Is(err, os.ErrNotExist) && runtime.GOOS != "linux" {
		return u, errors.New("proc: measuring another process needs Linux's /proc")
	}
	if err != nil {
		return u, err
	}
	if u.User, u.System, err = parseStat(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	u.Resident, u.Peak = 1024*statusField(status, "VmRSS"), 1024*statusField(status, "VmHWM")
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "status"))
	if err != nil {
		return u, err
	}
	u.Threads = len(threads)
	for _, name := range threads {
		if text, err := os.ReadFile(filepath.Join(filepath.Dir(name), "schedstat")); err == nil {
			u.OnCPU += parseSchedstat(text)
		}
		if status, err := os.ReadFile(name); err == nil { // threads end
			u.Switches += uint64(statusField(status, "voluntary_ctxt_switches") + statusField(status, "nonvoluntary_ctxt_switches"))
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
		return 0, 0, fmt.Errorf("proc: /proc/PID/stat has only %d fields behind the name", len(f))
	}
	u, uerr := strconv.ParseInt(f[11], 10, 64)
	s, serr := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(u) * tick, time.Duration(s) * tick, errors.Join(uerr, serr)
}

// parseSchedstat returns the first number of /proc/<pid>/task/<tid>/schedstat: the
// nanoseconds that the thread spent on a CPU (the kernel's sched-stats.rst).
func parseSchedstat(text []byte) time.Duration {
	first, _, _ := bytes.Cut(text, []byte(" "))
	n, _ := strconv.ParseInt(string(first), 10, 64)
	return time.Duration(max(n, 0))
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

// LoadAverage returns the machine's load over the last minute.
func LoadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseFloat(strings.Fields(string(text) + " 0")[0], 64)
	return n
}
