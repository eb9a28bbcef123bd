// Command grafana writes the dashboards in the folder dashboards beside it, for
// Compose and Kubernetes alike: `go run ./deploy/grafana`. Panels name metrics of
// the registry, so that a metric that is renamed breaks the test of this package
// and not when someone looks at the dashboard later.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// file is where the dashboard Experiment is kept, below the module.
const file = "deploy/grafana/dashboards/experiment.json"

func main() {
	if err := write(file); err != nil {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	b, err := generate()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write dashboard: %w; run it at the top of the module", err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write dashboard: %w", err)
	}
	return nil
}

// generate returns the dashboard's JSON.
func generate() ([]byte, error) {
	b, err := json.MarshalIndent(experimentDashboard(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode dashboard: %w", err)
	}
	return append(b, '\n'), nil
}
