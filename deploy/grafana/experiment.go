package main

import "fmt"

// panel is one graph: a query over a metric of the registry.
type panel struct {
	title, help string
	expr        string // %s stands for the metric
	metric      string // name in the registry
	value       string // value of the label metric, for the live view of a probe; else empty
	legend      string
	unit        string
	width       int // of 24
	stacked     bool
}

// ofArms is the live view of a metric per arm: the mean over its runs.
const ofArms = `avg by (experiment, arm, layer) (%s{experiment=~"$experiment", metric="` // and the metric's name

// panels are what an experimenter looks at first.
var panels = []panel{
	{title: "Online accuracy", help: "Accuracy on each example before it is learned: moving average over about 1000 steps, mean over the arm's runs.",
		metric: "neoteny_arm_metric", value: "online_accuracy", legend: "{{arm}}", unit: "percentunit", width: 12},
	{title: "Loss", help: "Training loss: moving average over about 1000 steps, mean over the arm's runs.",
		metric: "neoteny_arm_metric", value: "loss", legend: "{{arm}}", unit: "short", width: 12},
	{title: "Dormant units", help: "Fraction of units that are dormant, where the layer is empty that of all layers.",
		metric: "neoteny_arm_metric", value: "dormant_units", legend: "{{arm}} {{layer}}", unit: "percentunit", width: 8},
	{title: "Effective rank", help: "Effective rank of the layers' activations.",
		metric: "neoteny_arm_metric", value: "effective_rank", legend: "{{arm}} {{layer}}", unit: "short", width: 8},
	{title: "Weight magnitude", help: "Mean magnitude of the weights.",
		metric: "neoteny_arm_metric", value: "weight_magnitude", legend: "{{arm}} {{layer}}", unit: "short", width: 8},
	{title: "Steps per second", help: "Steps that became durable, by arm.",
		metric: "neoteny_run_steps_total", expr: `sum by (experiment, arm) (rate(%s{experiment=~"$experiment"}[$__rate_interval]))`, legend: "{{arm}}", unit: "ops", width: 8},
	{title: "Segments by state", help: "Segments of all running experiments that wait or are assigned.",
		metric: "neoteny_coordinator_segments", expr: `sum by (state) (%s)`, legend: "{{state}}", unit: "short", width: 8, stacked: true},
	{title: "Workers", help: "Workers by state.",
		metric: "neoteny_coordinator_workers", expr: `sum by (state) (%s)`, legend: "{{state}}", unit: "short", width: 8, stacked: true},
	{title: "Runs alive", help: "Runs of the arm that report.",
		metric: "neoteny_arm_runs", expr: `sum by (experiment, arm) (%s{experiment=~"$experiment"})`, legend: "{{arm}}", unit: "short", width: 8},
	{title: "Steps computed per worker", help: "Steps per second of each worker, committed or not.",
		metric: "neoteny_worker_steps_total", expr: `sum by (instance) (rate(%s[$__rate_interval]))`, legend: "{{instance}}", unit: "ops", width: 8},
	{title: "Segments ended", help: "Segments that ended on workers in the last five minutes, by outcome.",
		metric: "neoteny_worker_segments_total", expr: `sum by (outcome) (increase(%s[5m]))`, legend: "{{outcome}}", unit: "short", width: 8},
}

// query is a panel's PromQL, with Grafana's variables in it.
func (p panel) query() string {
	if p.value != "" {
		return fmt.Sprintf(ofArms, p.metric) + p.value + `"})`
	}
	return fmt.Sprintf(p.expr, p.metric)
}

const rowHeight = 8

// experimentVariable lists the experiments that report.
const experimentVariable = "neoteny_arm_runs"

type object = map[string]any

// experimentDashboard is the dashboard, in Grafana's JSON.
func experimentDashboard() object {
	source := object{"type": "prometheus", "uid": "${datasource}"}
	var out []object
	x, y := 0, 0
	for i, p := range panels {
		if x+p.width > 24 {
			x, y = 0, y+rowHeight
		}
		custom := object{"fillOpacity": 0, "lineWidth": 1, "showPoints": "never", "spanNulls": true}
		if p.stacked {
			custom["stacking"] = object{"mode": "normal"}
			custom["fillOpacity"] = 20
		}
		out = append(out, object{
			"id": i + 1, "type": "timeseries", "title": p.title, "description": p.help, "datasource": source,
			"gridPos": object{"x": x, "y": y, "w": p.width, "h": rowHeight},
			"targets": []object{{"refId": "A", "datasource": source, "expr": p.query(), "legendFormat": p.legend}},
			"fieldConfig": object{
				"defaults":  object{"unit": p.unit, "custom": custom},
				"overrides": []object{},
			},
			"options": object{
				"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true},
				"tooltip": object{"mode": "multi", "sort": "desc"},
			},
		})
		x += p.width
	}
	return object{
		"uid": "neoteny-experiment", "title": "Experiment", "tags": []string{"neoteny"}, "schemaVersion": 39, "version": 1,
		"editable": false, "timezone": "browser", "refresh": "10s",
		"time": object{"from": "now-30m", "to": "now"},
		"templating": object{"list": []object{
			{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
			{
				"name": "experiment", "label": "Experiment", "type": "query", "datasource": source,
				"query":   object{"query": "label_values(" + experimentVariable + ", experiment)", "refId": "experiments"},
				"refresh": 2, "sort": 2, "multi": true, "includeAll": true, "allValue": ".*",
				"current": object{"text": "All", "value": "$__all"},
			},
		}},
		"panels": out,
	}
}
