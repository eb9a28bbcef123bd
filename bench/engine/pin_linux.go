package main

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startPinned starts a process that may run on one core only, the last that
// this one may use; pinned is false where the system does not let it.
func startPinned(cmd *exec.Cmd) (pinned bool, err error) {
	// A process inherits what the thread that starts it may use.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) == nil {
		for i := range len(all) * 64 {
			if all.IsSet(i) {
				one.Zero()
				one.Set(i)
			}
		}
		pinned = unix.SchedSetaffinity(0, &one) == nil
	}
	err = cmd.Start()
	if pinned {
		if e := unix.SchedSetaffinity(0, &all); e != nil && err == nil {
			err = e
		}
	}
	return pinned, err
}

// cpuTime returns the seconds of CPU time that this process has used.
func cpuTime() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
