package proc

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// A Machine is where a run took place.
type Machine struct {
	OS     string `json:"os"`
	Kernel string `json:"kernel,omitempty"`
	CPU    string `json:"cpu,omitempty"`
	CPUs   int    `json:"cpus"`
	Go     string `json:"go"`
}

// ThisMachine describes the machine that this process runs on.
func ThisMachine() Machine {
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

func (m Machine) String() string {
	text := m.OS
	if m.Kernel != "" {
		text += " " + m.Kernel
	}
	if m.CPU != "" {
		text += ", " + m.CPU
	}
	cpus := "CPUs"
	if m.CPUs == 1 {
		cpus = "CPU"
	}
	return fmt.Sprintf("%s, %d %s, %s", text, m.CPUs, cpus, m.Go)
}
