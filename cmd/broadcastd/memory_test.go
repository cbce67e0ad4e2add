package main

import (
	"math"
	"testing"
	"testing/fstest"
)

// TestMemoryLimit finds the limit in every place where there may be one.
func TestMemoryLimit(t *testing.T) {
	const meminfo = "MemTotal:        8388608 kB\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing", nil, math.MaxInt64},
		{"the machine", map[string]string{"proc/meminfo": meminfo}, 8 << 30},
		{"no limit", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8 << 30},
		{"version 2, in a container", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		{"version 2, a unit", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/broadcastd.service\n",
			"sys/fs/cgroup/system.slice/broadcastd.service/memory.max": "1073741824\n",
		}, 1 << 30},
		{"version 2, around the unit", map[string]string{
			"proc/self/cgroup": "0::/system.slice/broadcastd.service\n",
			"sys/fs/cgroup/system.slice/broadcastd.service/memory.max": "max\n",
			"sys/fs/cgroup/system.slice/memory.max":                    "268435456\n",
		}, 256 << 20},
		{"version 2, a path of outside", map[string]string{
			"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "134217728\n",
		}, 128 << 20},
		{"version 1", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "12:cpu,cpuacct:/x\n9:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "67108864\n",
		}, 64 << 20},
		{"version 1, none", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "9:hugetlb,memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 8 << 30},
		{"nonsense", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "x\n0::../..\n::\n", "sys/fs/cgroup/memory.max": "-5\n"}, 8 << 30},
	} {
		root := make(fstest.MapFS)
		for name, text := range tt.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLimit(root); got != tt.want {
			t.Errorf("%s: memoryLimit = %d, want %d", tt.name, got, tt.want)
		}
	}
}
