package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"text/template"
)

//go:embed performance.md.tmpl
var markdownTemplate string

// reporter takes results as they come and prints them: at once with --json,
// else as tables at the end.
type reporter struct {
	options options
	out     io.Writer
	m       *machine
	results []result
}

func newReporter(o options, out io.Writer) *reporter { return &reporter{options: o, out: out} }

// line is one line of --json: a result, or the machine.
type line struct {
	Machine *machine `json:"machine,omitempty"`
	result
}

func (r *reporter) machine(m *machine) error {
	r.m = m
	return nil
}

func (r *reporter) add(x result) error {
	r.results = append(r.results, x)
	if r.options.json {
		return json.NewEncoder(r.out).Encode(x)
	}
	return nil
}

// read takes results from a file that --json has written.
func (r *reporter) read(path string, filter *regexp.Regexp) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	dec := json.NewDecoder(bufio.NewReader(f))
	for dec.More() {
		var l line
		if err := dec.Decode(&l); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		switch {
		case l.Machine != nil:
			r.m = l.Machine
		case filter.MatchString(l.Case):
			if err := r.add(l.result); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reporter) close() error {
	for _, x := range r.results { // the peer as the first result with it describes it
		if r.m != nil && r.m.Torch == "" && x.Peer == "torch" {
			r.m.Torch, r.m.Python, _ = strings.Cut(x.PeerAbout, " in Python ")
		}
	}
	switch {
	case r.options.json:
		if r.m == nil {
			return nil
		}
		return json.NewEncoder(r.out).Encode(map[string]*machine{"machine": r.m})
	case r.options.markdown:
		return r.markdown()
	}
	return r.text()
}

// groups are the headings in order, each with its columns.
var groups = []struct {
	name    string
	anchor  string // of the template
	columns []column
}{
	{groupTrain, "train", append(timing("PyTorch"), column{"MiB", memory})},
	{groupC, "c", timing("C")},
	{groupWhole, "whole", append(timing("without"), column{"MiB", memory}, column{"at most", func(r result) string { return number(r.MostMiB) }})},
	{groupWidth, "width", timing("PyTorch")},
	{groupDepth, "depth", timing("PyTorch")},
	{groupBatch, "batch", append(timing("PyTorch"), rate, ofPeak)},
	{groupGEMM, "gemm", []column{
		{"case", func(r result) string { return r.Case }},
		rate,
		ofPeak,
		{"OpenBLAS", func(r result) string { return number(r.PeerGFLOPS) }},
		{"ratio", func(r result) string { return number(r.Ratio) }},
		{"gonum", func(r result) string { return number(r.GonumGFLOPS) }},
		{"target", target},
		{"", verdict},
	}},
	{groupStream, "stream", []column{
		{"case", func(r result) string { return r.Case }},
		{"GB/s", func(r result) string { return number(r.GBs) }},
		{"copy GB/s", func(r result) string { return number(r.PeerGBs) }},
		{"ratio", func(r result) string { return number(r.Ratio) }},
		{"µs", func(r result) string { return number(r.Ours) }},
	}},
}

// column is a heading and what stands below it.
type column struct {
	head string
	cell func(result) string
}

var (
	rate   = column{"GFLOP/s", func(r result) string { return number(r.GFLOPS) }}
	ofPeak = column{"of peak", func(r result) string { return percent(r.PeakFraction) }}
)

func timing(peer string) []column {
	return []column{
		{"case", func(r result) string { return r.Case }},
		{"ours µs", func(r result) string { return number(r.Ours) }},
		{peer + " µs", func(r result) string { return number(r.PeerUS) }},
		{"ratio", func(r result) string { return number(r.Ratio) }},
		{"target", target},
		{"", verdict},
	}
}

// number prints three significant digits, or a dash for none.
func number(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// bound prints a target without zeros at its end.
func bound(v float64) string { return strconv.FormatFloat(math.Round(1000*v)/1000, 'f', -1, 64) }

func percent(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}

func target(r result) string {
	var parts []string
	if r.Target != nil {
		parts = append(parts, "≥ "+bound(*r.Target))
	}
	if r.PeakTarget > 0 {
		parts = append(parts, "≥ "+percent(r.PeakTarget)+" of peak")
	}
	return strings.Join(parts, ", ")
}

func verdict(r result) string {
	switch {
	case r.Met != nil && *r.Met:
		return "met"
	case r.Met != nil:
		return "NOT MET"
	case r.Target != nil || r.PeakTarget > 0:
		return "not measured"
	}
	return ""
}

func memory(r result) string {
	if r.OursMiB == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f / %s", r.OursMiB, number(r.PeerMiB))
}

// footnotes are what the results of a group have to say beside figures, each
// once.
func footnotes(results []result) []string {
	var notes []string
	say := func(s string) {
		if s != "" && !slices.Contains(notes, s) {
			notes = append(notes, s)
		}
	}
	busy, least := 0, 1.0
	for _, r := range results {
		say(r.Note)
		if r.Missing != "" {
			say(r.Case + ": " + r.Missing)
		}
		for _, w := range r.Warnings {
			if strings.HasPrefix(w, machineBusy) {
				busy++
				least = min(least, r.OursShare)
				if r.PeerShare > 0 {
					least = min(least, r.PeerShare)
				}
				continue
			}
			say(r.Case + ": " + w)
		}
	}
	if busy > 0 {
		say(fmt.Sprintf("%s during %d of these %d cases, contestants had as little as %.0f %% of a core: figures are rough.", machineBusy, busy, len(results), 100*least))
	}
	return notes
}

func (r *reporter) of(group string) []result {
	return slices.DeleteFunc(slices.Clone(r.results), func(x result) bool { return x.Group != group })
}

func (r *reporter) text() error {
	if r.m != nil {
		for _, l := range r.m.lines() {
			fmt.Fprintln(r.out, l)
		}
	}
	for _, g := range groups {
		results := r.of(g.name)
		if len(results) == 0 {
			continue
		}
		fmt.Fprintf(r.out, "\n%s\n", g.name)
		w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
		for _, row := range table(g.columns, results) {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, n := range footnotes(results) {
			fmt.Fprintf(r.out, "  %s\n", n)
		}
	}
	return nil
}

// table returns a heading and a row per result.
func table(columns []column, results []result) [][]string {
	rows := make([][]string, 1, len(results)+1)
	for _, c := range columns {
		rows[0] = append(rows[0], c.head)
	}
	for _, x := range results {
		var row []string
		for _, c := range columns {
			row = append(row, c.cell(x))
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *reporter) markdown() error {
	t, err := template.New("performance.md").Funcs(template.FuncMap{
		"table": func(anchor string) (string, error) {
			for _, g := range groups {
				if g.anchor == anchor {
					return markdownTable(g.columns, r.of(g.name)), nil
				}
			}
			return "", fmt.Errorf("no group %q", anchor)
		},
		"machine": func() string {
			if r.m == nil {
				return "(not recorded)"
			}
			return "- " + strings.Join(r.m.lines(), "\n- ")
		},
		"adam": r.adam,
		"missed": func() string {
			var names []string
			for _, x := range r.results {
				if x.Met != nil && !*x.Met {
					names = append(names, fmt.Sprintf("- %s: %s", x.Case, shortfall(x)))
				}
				if x.Met == nil && (x.Target != nil || x.PeakTarget > 0) {
					names = append(names, fmt.Sprintf("- %s: not measured (%s)", x.Case, x.Missing))
				}
			}
			if len(names) == 0 {
				return "All targets are met."
			}
			return "Not met:\n\n" + strings.Join(names, "\n")
		},
	}).Parse(markdownTemplate)
	if err != nil {
		return err
	}
	return t.Execute(r.out, nil)
}

// adam reports how much of a step Adam's update alone takes: for every weight a
// root and a division, exactly rounded, and seven numbers read or written.
func (r *reporter) adam() string {
	type size struct {
		name    string
		weights float64 // whose arrays have this size
		ns      float64 // per weight
	}
	var sizes []size
	for _, x := range r.results {
		for _, s := range streamSizes {
			if x.Case == "stream/adam "+s.name && x.Ours > 0 {
				sizes = append(sizes, size{s.name, float64(s.n), 1e3 * x.Ours / float64(s.n)})
			}
		}
	}
	if sizes == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("Adam's update alone, a root and a division per weight and seven numbers to move, takes")
	for i, s := range sizes {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %s ns a weight\nwith arrays of %s", number(s.ns), s.name)
	}
	b.WriteString(".\n")
	perElement := func(kernel string) float64 {
		for _, x := range r.results {
			if s := streamSizes[0]; x.Case == "stream/"+kernel+" "+s.name {
				return 1e3 * x.Ours / float64(s.n)
			}
		}
		return 0
	}
	if root, division := perElement("sqrt"), perElement("div"); root > 0 && division > 0 {
		fmt.Fprintf(&b, "From the first cache a root alone takes %s ns and a division %s ns, on a unit that they share: together %.0f %%\nof it, the roofline of an update with both exactly rounded.\n",
			number(root), number(division), 100*(root+division)/sizes[0].ns)
	}
	b.WriteString("At the nearest of these sizes that is\n\n")
	for _, x := range r.of(groupTrain) {
		if !strings.Contains(x.Case, " adam") || x.Ours == 0 {
			continue
		}
		weights := x.ParamsMiB * (1 << 18)
		nearest := sizes[0]
		for _, s := range sizes {
			if math.Abs(math.Log(s.weights/weights)) < math.Abs(math.Log(nearest.weights/weights)) {
				nearest = s
			}
		}
		fmt.Fprintf(&b, "- %s µs of the %s µs of %s,\n", number(nearest.ns*weights/1e3), number(x.Ours), x.Case)
	}
	return strings.TrimSuffix(b.String(), ",\n") + ".\n"
}

// shortfall says how far a missed case is from its target.
func shortfall(r result) string {
	var parts []string
	if r.Target != nil && r.Ratio < *r.Target {
		parts = append(parts, fmt.Sprintf("%s×, target %s×", number(r.Ratio), bound(*r.Target)))
	}
	if r.MostMiB > 0 && r.OursMiB > r.MostMiB {
		parts = append(parts, fmt.Sprintf("%.0f MiB, at most %.0f", r.OursMiB, r.MostMiB))
	}
	if r.PeakFraction < r.PeakTarget {
		parts = append(parts, fmt.Sprintf("%s of peak, target %s", percent(r.PeakFraction), percent(r.PeakTarget)))
	}
	return strings.Join(parts, "; ")
}

func markdownTable(columns []column, results []result) string {
	if len(results) == 0 {
		return "(not measured)\n"
	}
	var b strings.Builder
	for i, row := range table(columns, results) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|--:", len(row)-1) + "|\n")
		}
	}
	if notes := footnotes(results); len(notes) > 0 {
		b.WriteString("\n")
		for _, n := range notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.String()
}

// listCases prints names and targets.
func listCases(out io.Writer, cases []benchCase) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range cases {
		fmt.Fprintf(w, "%s\t%s\n", c.name, c.targetText())
	}
	return w.Flush()
}
