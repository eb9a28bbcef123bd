// Package reference has the commands that say what the program is made of: components,
// datasets, its version.
package reference

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
)

func init() {
	app.Register(app.Command{
		Name: "components", Help: "Describe streams, networks, methods, probes and their parameters.", Group: app.Reference, Place: 1,
		New: func() any { return &componentsCmd{} },
	})
}

type componentsCmd struct {
	Kind   string `arg:"" optional:"" help:"Kind of component: stream, network, optimizer, method, probe, …"`
	Name   string `arg:"" optional:"" help:"One of them."`
	Schema bool   `help:"Print the JSON Schema of the component's object (needs KIND and NAME)."`
	app.Output
}

func (componentsCmd) Help() string {
	return `A component is an object of the experiment file with a kind and its parameters beside it; preset: NAME starts from a published setting.

  neoteny components
  neoteny components method
  neoteny components method continual-backprop
  neoteny components method continual-backprop --schema
  neoteny components probe -o json`
}

func (c *componentsCmd) Run(a *app.App) error {
	docs := component.All()
	if c.Kind != "" {
		var kinds []string
		for _, d := range docs {
			kinds = append(kinds, d.Kind)
		}
		kinds = slices.Compact(kinds)
		if docs = slices.DeleteFunc(docs, func(d component.Doc) bool { return d.Kind != c.Kind }); len(docs) == 0 {
			return fmt.Errorf("no kind of component %q%s (have: %s)", c.Kind, component.DidYouMean(c.Kind, kinds), strings.Join(kinds, ", "))
		}
	}
	if c.Name != "" {
		var names []string
		for _, d := range docs {
			names = append(names, d.Name)
		}
		if docs = slices.DeleteFunc(docs, func(d component.Doc) bool { return d.Name != c.Name }); len(docs) == 0 {
			return fmt.Errorf("no %s %q%s (have: %s)", c.Kind, c.Name, component.DidYouMean(c.Name, names), strings.Join(names, ", "))
		}
	}
	switch {
	case c.Schema && c.Name == "":
		return app.Usagef("--schema needs KIND and NAME")
	case c.Schema:
		return a.PrintJSON(docs[0].Schema)
	case c.JSON():
		return a.PrintJSON(componentsJSON(docs))
	case c.Name != "":
		return c.describe(a, docs[0])
	}
	t := render.Table{Columns: []render.Column{{Title: "KIND"}, {Title: "NAME"}, {Title: "SUMMARY"}}}
	last := ""
	for _, d := range docs {
		kind := d.Kind
		if kind == last {
			kind = ""
		}
		last = d.Kind
		summary := d.Summary
		if d.Formula != "" {
			summary += ": " + d.Formula
		}
		t.Add(kind, d.Name, summary)
	}
	return t.Write(a.Out)
}

type componentJSON struct {
	Kind       string                     `json:"kind"`
	Name       string                     `json:"name"`
	Summary    string                     `json:"summary"`
	Formula    string                     `json:"formula,omitempty"`
	Derivative string                     `json:"derivative,omitempty"`
	Paper      string                     `json:"paper,omitempty"`
	Needs      []component.Capability     `json:"needs,omitempty"`
	Provides   []component.Capability     `json:"provides,omitempty"`
	Defaults   json.RawMessage            `json:"defaults"`
	Presets    map[string]json.RawMessage `json:"presets,omitempty"`
	Schema     json.RawMessage            `json:"schema"`
}

func componentsJSON(docs []component.Doc) any {
	out := struct {
		Components []componentJSON `json:"components"`
	}{[]componentJSON{}}
	for _, d := range docs {
		out.Components = append(out.Components, componentJSON{d.Kind, d.Name, d.Summary, d.Formula, d.Derivative, d.Paper, d.Needs, d.Provides, d.Defaults, d.Presets, d.Schema})
	}
	return out
}

func (c *componentsCmd) describe(a *app.App, d component.Doc) error {
	fmt.Fprintf(a.Out, "%s %s: %s\n", d.Kind, d.Name, d.Summary)
	if d.Formula != "" {
		fmt.Fprintf(a.Out, "formula: %s\n", d.Formula)
	}
	if d.Derivative != "" {
		fmt.Fprintf(a.Out, "derivative: %s\n", d.Derivative)
	}
	if d.Paper != "" {
		fmt.Fprintf(a.Out, "from: %s\n", d.Paper)
	}
	if len(d.Needs) > 0 {
		fmt.Fprintf(a.Out, "needs: %s\n", join(d.Needs))
	}
	if len(d.Provides) > 0 {
		fmt.Fprintf(a.Out, "provides: %s\n", join(d.Provides))
	}
	if info, ok := probe.Of(d.Name); ok && d.Kind == "probe" {
		for _, m := range info.Metrics {
			fmt.Fprintf(a.Out, "metric %s: %s\n", m.Metric, m)
		}
	}
	var schema struct {
		Properties map[string]struct {
			Type        string   `json:"type"`
			Description string   `json:"description"`
			Enum        []string `json:"enum"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(d.Schema, &schema); err != nil {
		return fmt.Errorf("schema of %s %s: %w", d.Kind, d.Name, err)
	}
	defaults, err := object(d.Defaults)
	if err != nil {
		return fmt.Errorf("defaults of %s %s: %w", d.Kind, d.Name, err)
	}
	t := render.Table{Columns: []render.Column{{Title: "PARAMETER"}, {Title: "TYPE"}, {Title: "DEFAULT"}, {Title: "MEANING"}}}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		p := schema.Properties[name]
		if name == "kind" || name == "preset" {
			continue
		}
		meaning := p.Description
		if len(p.Enum) > 0 {
			meaning += " (" + strings.Join(p.Enum, ", ") + ")"
		}
		if p.Type == "" { // a component inside of this one
			p.Type = "name or object"
		}
		t.Add(name, p.Type, string(defaults[name]), meaning)
	}
	fmt.Fprintln(a.Out)
	if len(t.Rows) == 0 {
		fmt.Fprintln(a.Out, "It has no parameters.")
	} else if err := t.Write(a.Out); err != nil {
		return err
	}
	if d.Kind == "probe" {
		fmt.Fprintln(a.Out, "\nAs all probes it takes every (step, task, a number of steps, or \"10 tasks\"), at (start, end), reduce (mean, last, max), as (a name),\nand, where it measures the learner at rest and remembers nothing, deferred: true (from a checkpoint, by whichever worker is idle).")
	}
	if d.Kind == "learner" {
		fmt.Fprintln(a.Out, "\nAs all learners it takes on_divergence: end (default), or freeze: where its loss, weights or state are no longer finite, the run\ngoes on with the learner as it was before, measured and no longer trained, and the metric diverged is 1 (with a stream).")
	}
	for i, name := range slices.Sorted(maps.Keys(d.Presets)) {
		if i == 0 {
			fmt.Fprintln(a.Out, "\nPresets, where they differ from the defaults:")
		}
		preset, err := object(d.Presets[name])
		if err != nil {
			return fmt.Errorf("preset %s of %s %s: %w", name, d.Kind, d.Name, err)
		}
		var differ []string
		for _, k := range slices.Sorted(maps.Keys(preset)) {
			if string(preset[k]) != string(defaults[k]) {
				differ = append(differ, k+": "+string(preset[k]))
			}
		}
		fmt.Fprintf(a.Out, "  %s  {%s}\n", name, strings.Join(differ, ", "))
	}
	return nil
}

func join(cs []component.Capability) string {
	var out []string
	for _, c := range cs {
		out = append(out, string(c))
	}
	return strings.Join(out, ", ")
}

func object(raw json.RawMessage) (map[string]json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	return m, json.Unmarshal(raw, &m)
}
