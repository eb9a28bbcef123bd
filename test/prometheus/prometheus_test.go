//go:build prometheus

// Package prometheus holds the dashboard to what it promises: a real Prometheus
// scrapes a real run, and every panel's query returns data. See `make
// test-prometheus`.
package prometheus

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/test/internal/deploytest"
)

func TestEveryPanelHasData(t *testing.T) {
	prometheus := deploytest.Tool(t, "prometheus", "PROMETHEUS")
	dir := t.TempDir()
	address := func() string { return "127.0.0.1:" + deploytest.FreePort(t) }
	api, metrics, live, prom := address(), address(), address(), address()
	_, _ = deploytest.Start(t, "neoteny", deploytest.Built(t, "neoteny"), "up", "--state-dir", filepath.Join(dir, "state"),
		"--listen", api, "--metrics-listen", metrics, "--http", live)
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n  - job_name: neoteny\n    static_configs: [{targets: [%q]}]\n", live)
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o644))
	_, _ = deploytest.Start(t, "prometheus", prometheus, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "tsdb"), "--web.listen-address", prom)

	deploytest.Run(t, deploytest.Built(t, "neoteny"), "data", "import", "mnist")
	cluster := deploytest.API{T: t, Address: func() string { return api }}
	// Longer than the test: rates want an experiment that runs, however fast the machine.
	quickstart, err := os.ReadFile(filepath.Join(deploytest.Root(t), deploytest.Quickstart))
	require.NoError(t, err)
	long := strings.Replace(string(quickstart), "tasks: 20,", "tasks: 2000,", 1)
	require.NotEqual(t, string(quickstart), long)
	spec := filepath.Join(dir, "long.yaml")
	require.NoError(t, os.WriteFile(spec, []byte(long), 0o644))
	id := cluster.Submit(spec)

	b, err := os.ReadFile(filepath.Join(deploytest.Root(t), "deploy", "grafana", "dashboards", "experiment.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			// As Grafana fills them in.
			q := strings.NewReplacer("$experiment", id, "$__rate_interval", "10s").Replace(target.Expr)
			require.NotContains(t, q, "$")
			deploytest.Until(t, "panel "+p.Title+" has data: "+q, func() bool {
				values, err := query(prom, q)
				if err != nil { // while it starts
					t.Log(err)
				}
				return len(values) > 0
			})
		}
	}
	// What the panels show is what there is: both arms, by their names.
	values, err := query(prom, `neoteny_arm_metric{metric="online_accuracy", experiment="`+id+`"}`)
	require.NoError(t, err)
	arms := map[string]bool{}
	for _, v := range values {
		arms[v.Metric["arm"]] = true
	}
	require.Contains(t, arms, "backprop")
	_, err = cluster.Call("CancelExperiment", map[string]any{"id": id})
	require.NoError(t, err)
}

type sample struct {
	Metric map[string]string
	Value  [2]any
}

// query is an instant query of Prometheus' API.
func query(address, q string) ([]sample, error) {
	resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(q))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("query %s: %s", q, answer.Error)
	}
	return answer.Data.Result, nil
}
