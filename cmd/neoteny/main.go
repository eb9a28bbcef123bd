// Command neoteny runs continual-learning experiments, on one machine or as the
// services of a cluster. See "neoteny --help".
package main

import (
	"os"

	"neoteny/cmd/neoteny/internal/cli"
	"neoteny/cmd/neoteny/internal/cli/app"
	_ "neoteny/pkg/engine/all"
)

func main() { os.Exit(cli.Main(os.Args[1:], app.Standard())) }
