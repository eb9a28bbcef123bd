package schema

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
)

// preface says what no single field does.
//
//go:embed preface.md
var preface string

// sections are the parts of the reference that are messages, in order: heading and
// name of the definition.
var sections = []struct{ title, def string }{
	{"The experiment", "ExperimentSpec"},
	{"arms", "arm"},
	{"sweep", "Sweep"},
	{"sweep.arms", "SweepSpace"},
	{"sweep.random", "RandomSearch"},
	{"sweep.random.params", "Distribution"},
	{"select", "Select"},
	{"seeds", "Seeds"},
	{"segments", "Segments"},
	{"claims", "Claim"},
	{"claims.holds", "Bound"},
	{"needs", "Need"},
	{"analyses.needs", "input"},
}

// kinds are the kinds of components in the order of the reference.
var kinds = []string{"stream", "environment", "learner", "network", "activation", "init", "rule", "optimizer", "method", "probe", "analysis"}

// Markdown returns the reference of the experiment file.
func Markdown() string {
	b := build()
	m := &markdown{defs: b.plain()}
	m.WriteString(preface)
	for _, s := range sections {
		m.section(s.title, s.def)
	}
	m.WriteString("\n# Components\n\nAn object with `kind` and its parameters beside it. `preset: NAME` starts from a named set of parameters. " +
		"Where a component is a parameter of another one, its name alone stands for its defaults.\n")
	docs := component.All()
	for _, kind := range kinds {
		m.kind(kind, docs)
	}
	return m.String()
}

type markdown struct {
	strings.Builder
	defs object
}

// plain passes the definitions through JSON, so that every value has JSON's types.
func (b *builder) plain() object {
	raw, err := json.Marshal(b.defs)
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err)) // plain data
	}
	out := object{}
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(fmt.Sprintf("schema: %v", err))
	}
	return out
}

func (m *markdown) section(title, def string) {
	d := m.defs[def].(object)
	if list, ok := d["anyOf"].([]any); ok && def == "arm" { // nothing, or a patch
		d = list[1].(object)
	}
	fmt.Fprintf(m, "\n## %s\n\n<a id=%q></a>%s\n", title, anchor(def), cell(d["description"]))
	if list, ok := d["oneOf"].([]any); ok {
		var names []string
		for _, alternative := range list {
			for _, n := range alternative.(object)["required"].([]any) {
				names = append(names, "`"+n.(string)+"`")
			}
		}
		if len(names) > 1 {
			fmt.Fprintf(m, "\nExactly one of %s is given.\n", strings.Join(names, ", "))
		}
	}
	props := d["properties"].(object)
	m.table("Field", props, nil, ordered(def, props))
}

// ordered are the fields in the order of the message, then those of the file alone.
func ordered(def string, props object) []string {
	var names []string
	for name := range messageFields(def) {
		if props[name] != nil {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (m *markdown) table(first string, props, defaults object, names []string) {
	if len(names) == 0 {
		return
	}
	if defaults == nil {
		fmt.Fprintf(m, "\n| %s | Type | Meaning |\n|---|---|---|\n", first)
	} else {
		fmt.Fprintf(m, "\n| %s | Type | Default | Meaning |\n|---|---|---|---|\n", first)
	}
	for _, name := range names {
		p, _ := props[name].(object)
		meaning := cell(p["description"])
		if limits := bounds(p); limits != "" {
			meaning = strings.TrimSpace(meaning + " (" + limits + ")")
		}
		if defaults == nil {
			fmt.Fprintf(m, "| `%s` | %s | %s |\n", name, typeName(p), meaning)
			continue
		}
		text := ""
		if v, ok := defaults[name]; ok {
			text = "`" + cell(jsonText(v)) + "`"
		}
		fmt.Fprintf(m, "| `%s` | %s | %s | %s |\n", name, typeName(p), text, meaning)
		m.inside(name, p)
	}
}

// inside adds a row for each field of a parameter that is an object, or a list of them.
func (m *markdown) inside(name string, p object) {
	if items, ok := p["items"].(object); ok {
		name, p = name+"[]", items
	}
	props, _ := p["properties"].(object)
	for _, inner := range slices.Sorted(maps.Keys(props)) {
		f, _ := props[inner].(object)
		fmt.Fprintf(m, "| `%s.%s` | %s | | %s |\n", name, inner, typeName(f), cell(f["description"]))
		m.inside(name+"."+inner, f)
	}
}

func (m *markdown) kind(kind string, docs []component.Doc) {
	fmt.Fprintf(m, "\n## %s\n\n<a id=%q></a>", kind, anchor(kind))
	if text := about[kind]; text != "" {
		fmt.Fprintf(m, "%s\n", text)
	}
	common := object{}
	switch kind {
	case "probe":
		common = m.plainObject(probeSchedule())
	case "learner":
		common = learnerParts()
		common[learner.OnDivergence] = onDivergence()
	case "analysis":
		common = object{"per": nil, "needs": nil}
	}
	switch kind {
	case "probe":
		m.table("Parameter", common, nil, slices.Sorted(maps.Keys(common)))
	case "learner":
		m.table("Parameter", m.plainObject(object{learner.OnDivergence: onDivergence()}), nil, []string{learner.OnDivergence})
	}
	for _, doc := range docs {
		if doc.Kind != kind {
			continue
		}
		d := m.defs[kind+"."+doc.Name].(object)
		fmt.Fprintf(m, "\n### %s %s\n\n", kind, doc.Name)
		fmt.Fprintf(m, "%s.", cell(strings.ToUpper(doc.Summary[:1])+doc.Summary[1:]))
		if doc.Formula != "" {
			fmt.Fprintf(m, " `%s`", strings.ReplaceAll(doc.Formula, "`", "'"))
		}
		if doc.Paper != "" {
			fmt.Fprintf(m, " From: %s.", cell(doc.Paper))
		}
		if len(doc.Needs) > 0 {
			fmt.Fprintf(m, " Needs: %s.", joined(doc.Needs))
		}
		if len(doc.Publishes) > 0 {
			fmt.Fprintf(m, " Publishes: %s.", strings.Join(doc.Publishes, ", "))
		}
		m.WriteString(measures(kind, doc.Name) + "\n")
		defaults := object{}
		if err := json.Unmarshal(doc.Defaults, &defaults); err != nil {
			panic(fmt.Sprintf("schema: defaults of %s %s: %v", kind, doc.Name, err)) // were made by package component
		}
		props := d["properties"].(object)
		var names []string
		for _, name := range slices.Sorted(maps.Keys(props)) {
			_, shared := common[name]
			if own := name != "kind" && name != "preset" && !shared; own {
				names = append(names, name)
			}
		}
		m.table("Parameter", props, defaults, names)
		if needs, ok := props["needs"].(object); ok && kind == "analysis" {
			inputs := needs["properties"].(object)
			m.table("Needs", inputs, nil, slices.Sorted(maps.Keys(inputs)))
		}
		if len(doc.Presets) > 0 {
			fmt.Fprintf(m, "\nPresets: %s.\n", strings.Join(slices.Sorted(maps.Keys(doc.Presets)), ", "))
		}
	}
}

// measures says which metrics a probe or an analysis has, and when a probe measures
// by default.
func measures(kind, name string) string {
	metrics := func(list []string) string { return " Metrics: `" + strings.Join(list, "`, `") + "`." }
	switch kind {
	case "analysis":
		info, _ := analysis.InfoOf(name)
		return metrics(info.Metrics)
	case "probe":
		info, _ := probe.Of(name)
		reduce := map[string]string{"": "mean", "mean": "mean", "last": "last value", "max": "largest value"}[info.Reduce]
		if info.Every == "step" {
			return metrics(info.Names()) + " Measured every step; a task has the " + reduce + " over its steps."
		}
		return metrics(info.Names()) + " Measured at the " + cmp.Or(info.At, "end") + " of every task; with every: N, in steps, a task has the " + reduce + " over its measurements."
	}
	return ""
}

func (m *markdown) plainObject(v object) object {
	return (&builder{defs: v}).plain()
}

// about says what all components of a kind are for.
var about = map[string]string{
	"stream":      "Where tasks come from: `stream:`.",
	"environment": "What a reinforcement learner acts in, in the place of a stream: `environment:`.",
	"learner": "What lives: `learner:`. Without `kind` it is supervised. Kinds that train a network have `network`, `rule` (default: backprop), " +
		"`optimizer` and the list `methods` beside their parameters. All of them take:",
	"network":    "`learner.network`.",
	"activation": "Between layers: a network's `activation`.",
	"init":       "How weights start: a network's `init`.",
	"rule":       "How gradients come about: `learner.rule`.",
	"optimizer":  "`learner.optimizer`.",
	"method":     "Interventions on the learner, which compose in the order of the list: `learner.methods`.",
	"probe":      "What is measured: `probes`. All of them take these parameters beside their own:",
	"analysis": "Pure functions over artifacts and task tables of finished runs: `analyses`. All of them take `needs`, and `per`: `seed` (default) or " +
		"`experiment`.",
}

func joined(list []component.Capability) string {
	var out []string
	for _, c := range list {
		out = append(out, string(c))
	}
	return strings.Join(out, ", ")
}

func anchor(def string) string { return strings.ToLower(strings.ReplaceAll(def, ".", "-")) }

// cell is a text in a cell of a table.
func cell(v any) string {
	if v == nil {
		return ""
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(fmt.Sprint(v)), " "), "|", `\|`)
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err)) // came from JSON
	}
	return string(b)
}

// bounds says which numbers are allowed.
func bounds(p object) string {
	var out []string
	add := func(key, words string) {
		if v, ok := p[key]; ok {
			out = append(out, fmt.Sprintf("%s %s", words, cell(jsonText(v))))
		}
	}
	add("minimum", "at least")
	add("exclusiveMinimum", "above")
	add("maximum", "at most")
	add("maxItems", "entries: at most")
	add("maxProperties", "entries: at most")
	add("maxLength", "characters: at most")
	return strings.Join(out, ", ")
}

// typeName says in a few words what a schema takes.
func typeName(v any) string {
	s, _ := v.(object)
	if name, ok := s["$ref"].(string); ok {
		name = strings.TrimPrefix(name, "#/$defs/")
		name = strings.TrimSuffix(name, ".patch")
		for _, sec := range sections {
			if sec.def == name {
				return "[" + sec.title + "](#" + anchor(name) + ")"
			}
		}
		return "[" + name + "](#" + anchor(name) + ")"
	}
	if enum, ok := s["enum"].([]any); ok {
		if len(enum) > 12 {
			return "name"
		}
		var names []string
		for _, e := range enum {
			names = append(names, "`"+cell(e)+"`")
		}
		return strings.Join(names, ", ")
	}
	if list, ok := s["anyOf"].([]any); ok && s["type"] == nil {
		var names []string
		for _, a := range list {
			if n := typeName(a); n != "null" && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		return strings.Join(names, " or ")
	}
	switch t := s["type"].(type) {
	case string:
		switch {
		case t == "array" && s["items"] != nil:
			return "list of " + typeName(s["items"])
		case t == "array":
			return "list"
		case t == "object" && s["additionalProperties"] != nil && s["additionalProperties"] != false:
			return "object, by name: " + typeName(s["additionalProperties"])
		case t == "boolean":
			return "true or false"
		}
		return t
	case []any:
		var names []string
		for _, n := range t {
			names = append(names, fmt.Sprint(n))
		}
		return strings.Join(names, " or ")
	}
	return "anything"
}
