//go:build !linux

package main

import "os/exec"

// startPinned starts a process; only Linux lets it be kept on one core.
func startPinned(cmd *exec.Cmd) (pinned bool, err error) { return false, cmd.Start() }

// cpuTime is known on Linux only.
func cpuTime() float64 { return 0 }
