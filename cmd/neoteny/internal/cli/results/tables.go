package results

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// WriteText writes what people see at the end: a table of metrics per arm and
// the claims with their verdicts.
func (r *Result) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s, %s\n", r.Experiment.GetId(), StateName(r.Experiment.GetState()), RunsText(r.Experiment.GetProgress()))
	if t := r.armTable(); len(t.Rows) > 0 {
		fmt.Fprintf(w, "\nMean and 95 %% interval over seeds, arms ranked\n")
		if err := t.Write(w); err != nil {
			return err
		}
	}
	if t := r.trialTable(); len(t.Rows) > 0 {
		fmt.Fprintf(w, "\nTrials by what selects them: %s of %s, over tuning seeds\n", r.Experiment.GetSpec().GetSelect().GetMode(), r.score())
		if err := t.Write(w); err != nil {
			return err
		}
	}
	if len(r.Summary.Gaps) > 0 {
		fmt.Fprintf(w, "\nPlasticity gap: fresh networks minus the arm that lives on\n")
		if err := r.gapTable().Write(w); err != nil {
			return err
		}
	}
	if len(r.Summary.Analyses) > 0 {
		fmt.Fprintf(w, "\nAnalyses\n")
		if err := r.analysisTable().Write(w); err != nil {
			return err
		}
	}
	if len(r.Summary.Claims) > 0 {
		fmt.Fprintf(w, "\nClaims\n")
		if err := r.claimTable().Write(w); err != nil {
			return err
		}
	}
	r.writePassedOver(w)
	writeMessages(w, "Diverged runs (a smaller step size may help)", r.Diverged())
	writeMessages(w, "Failed runs", r.Failed())
	writeMessages(w, "Runs that lack measurements", r.lacking())
	return nil
}

// RunsText counts an experiment's runs by how they ended.
func RunsText(p *pb.Progress) string {
	s := fmt.Sprintf("%d of %d runs done", p.GetRunsDone(), p.GetRuns())
	if n := p.GetRunsDiverged(); n > 0 {
		s += fmt.Sprintf(", %d diverged", n)
	}
	if n := p.GetRunsFailed(); n > 0 {
		s += fmt.Sprintf(", %d failed", n)
	}
	return s
}

// writePassedOver says which trials the selection did not consider.
func (r *Result) writePassedOver(w io.Writer) {
	first := true
	for _, arm := range r.Summary.Arms {
		for i := range arm.Trials {
			t := &arm.Trials[i]
			if t.Confirmation || !slices.Contains(arm.PassedOver, t.Trial) {
				continue
			}
			if first {
				fmt.Fprintf(w, "\nTrials that the selection passed over\n")
				first = false
			}
			fmt.Fprintf(w, "%s: %s\n", nameOf(arm.Arm, t), missing(t))
		}
	}
}

// missing says what became of the runs of a trial that are in no mean, or "".
func missing(t *report.Trial) string {
	n := t.Runs()
	switch d, m := len(t.Diverged), len(t.Missing); {
	case d == 1 && n == 1:
		return "the only seed diverged"
	case d == n && n > 0:
		return fmt.Sprintf("all %d seeds diverged", n)
	case d > 0 && m > 0:
		return fmt.Sprintf("%d of %d seeds diverged, %d did not finish", d, n, m)
	case d > 0:
		return fmt.Sprintf("%d of %d seeds diverged", d, n)
	case m > 0:
		return fmt.Sprintf("%d of %d seeds did not finish", m, n)
	}
	return ""
}

// writeMessages lists what runs have to say, under a title.
func writeMessages(w io.Writer, title string, runs []Run) {
	for i, run := range runs {
		if i == 0 {
			fmt.Fprintf(w, "\n%s\n", title)
		}
		if i == maxMessages {
			fmt.Fprintf(w, "and %d more, see runs.csv\n", len(runs)-i)
			break
		}
		name := run.GetId()
		if label := experiment.Label(run.GetParams()); label != "" {
			name += " (" + label + ")"
		}
		fmt.Fprintf(w, "%s: %s\n", name, strings.Join(strings.Fields(run.GetMessage()), " "))
	}
}

// maxMessages bounds the lists of runs under the tables.
const maxMessages = 10

// maxTrialsShown bounds the trials of an arm without a selected one.
const maxTrialsShown = 20

// armTable has a block of rows for each metric, its arms ranked.
func (r *Result) armTable() *render.Table {
	t := &render.Table{Columns: []render.Column{{Title: "METRIC"}, {Title: "ARM"}, {Title: "MEAN OVER TASKS"}, {Title: "LAST TASK"}, {Title: "SEEDS", Align: render.Right}}}
	type row struct {
		arm string
		m   report.Metric
	}
	blocks := map[string][]row{}
	var metrics []string
	var without, more [][]string
	for i := range r.Summary.Arms {
		arm := &r.Summary.Arms[i]
		for _, shown := range shownTrials(arm) {
			for _, m := range overall(shown.trial.Metrics) {
				name := metricName(m)
				if blocks[name] == nil {
					metrics = append(metrics, name)
				}
				blocks[name] = append(blocks[name], row{shown.name, m})
			}
			if len(shown.trial.Metrics) == 0 && shown.trial.Runs() > 0 {
				without = append(without, []string{"-", shown.name, missing(shown.trial), "", fmt.Sprintf("0 of %d", shown.trial.Runs())})
			}
		}
		if n := len(arm.Trials); arm.Main() == nil && n > maxTrialsShown {
			more = append(more, []string{"", fmt.Sprintf("(%s: %d more trials, see trials.csv)", arm.Arm, n-maxTrialsShown)})
		}
	}
	slices.Sort(metrics)
	var spans []render.Span
	for _, name := range metrics {
		lower := r.lowerIsBetter(name)
		slices.SortStableFunc(blocks[name], func(a, b row) int { return rank(a.m.Mean, b.m.Mean, lower) })
		first := name
		for _, row := range blocks[name] {
			spans = append(spans, span(row.m.Interval), lastTask(row.m.PerTask))
			t.Add(first, row.arm, "", "", seeds(row.m))
			first = ""
		}
	}
	fill(t, 2, spans, 2)
	t.Rows = append(append(t.Rows, without...), more...)
	return t
}

// score names what select compares.
func (r *Result) score() string {
	if s := r.Experiment.GetSpec().GetSelect(); s.GetValue() != "" {
		return s.GetValue()
	}
	return r.Experiment.GetSpec().GetSelect().GetMetric()
}

// trialTable ranks the trials of the arms that have several.
func (r *Result) trialTable() *render.Table {
	t := &render.Table{Columns: []render.Column{{Title: "ARM"}, {Title: "RANK", Align: render.Right}, {Title: "TRIAL"}, {Title: "SCORE", Align: render.Right}, {Title: "SEEDS", Align: render.Right}, {Title: "NOTE"}}}
	for i := range r.Summary.Arms {
		arm := &r.Summary.Arms[i]
		ranked := slices.DeleteFunc(r.ranked(arm), func(t rankedTrial) bool { return t.Score == nil })
		if len(ranked) < 2 {
			continue
		}
		name := arm.Arm
		for n, x := range ranked {
			if n == maxTrialsShown {
				t.Add("", "", fmt.Sprintf("(%d more, see trials.csv)", len(ranked)-n))
				break
			}
			note := missing(x.Trial)
			if arm.Selected == x.Trial.Trial {
				note = strings.TrimPrefix(note+", selected", ", ")
			}
			t.Add(name, x.place(), x.Label, render.Number(float64(*x.Score)), ofRuns(len(x.Seeds), x.Runs()), note)
			name = ""
		}
	}
	return t
}

// rank orders means, the best first and what is no number last.
func rank(a, b report.Number, lower bool) int {
	x, y := float64(a), float64(b)
	switch {
	case math.IsNaN(x) || math.IsNaN(y):
		return cmp.Compare(btoi(math.IsNaN(x)), btoi(math.IsNaN(y)))
	case lower:
		return cmp.Compare(x, y)
	}
	return cmp.Compare(y, x)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lowerIsBetter says in which order arms are ranked by a metric: as select says of its
// own, else as the metric's probe says.
func (r *Result) lowerIsBetter(metric string) bool {
	if sel := r.Experiment.GetSpec().GetSelect(); sel.GetMetric() == metric {
		return sel.GetMode() == "min"
	}
	name, _, _ := strings.Cut(metric, "/")
	return r.describe(name).Better == probe.Lower
}

// fill writes intervals into a table's rows, so many columns each from the given one
// on.
func fill(t *render.Table, from int, spans []render.Span, columns int) {
	for i, text := range render.Intervals(spans) {
		t.Rows[i/columns][from+i%columns] = text
	}
}

func span(i report.Interval) render.Span {
	return render.Span{Mean: float64(i.Mean), Low: float64(i.Low), High: float64(i.High)}
}

func (r *Result) gapTable() *render.Table {
	t := &render.Table{Columns: []render.Column{{Title: "ARM"}, {Title: "CONTROL"}, {Title: "METRIC"}, {Title: "MEAN OVER TASKS"}, {Title: "LAST TASK"}, {Title: "SEEDS", Align: render.Right}}}
	var spans []render.Span
	for _, g := range r.Summary.Gaps {
		spans = append(spans, span(g.Interval), lastTask(g.PerTask))
		t.Add(g.Arm, g.Control, metricName(g.Metric), "", "", seeds(g.Metric))
	}
	fill(t, 3, spans, 2)
	return t
}

func (r *Result) analysisTable() *render.Table {
	t := &render.Table{Columns: []render.Column{{Title: "ANALYSIS"}, {Title: "METRIC"}, {Title: "VALUE"}, {Title: "RUNS", Align: render.Right}}}
	var spans []render.Span
	for i := range r.Summary.Analyses {
		a := &r.Summary.Analyses[i]
		name := a.Analysis
		for _, m := range a.Main().Metrics {
			spans = append(spans, span(m.Interval))
			t.Add(name, metricName(m), "", seeds(m))
			name = ""
		}
	}
	fill(t, 2, spans, 1)
	return t
}

// seeds is of how many seeds a metric's mean is: "3", or "2 of 3" and why one is left
// out that finished.
func seeds(m report.Metric) string {
	s := seedsOf(m.Interval)
	if m.NotFinite > 0 {
		s += fmt.Sprintf(" (%d not finite)", m.NotFinite)
	}
	return s
}

func seedsOf(i report.Interval) string { return ofRuns(i.N, i.Of) }

func ofRuns(n, of int) string {
	if n == of {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d of %d", n, of)
}

type shownTrial struct {
	name  string
	trial *report.Trial
}

// shownTrials are the curves that stand for an arm: its selected trial under
// the arm's name, or the first few of its trials under their own.
func shownTrials(arm *report.Arm) []shownTrial {
	if main := arm.Main(); main != nil {
		return []shownTrial{{nameOf(arm.Arm, main), main}}
	}
	var out []shownTrial
	for i := range arm.Trials[:min(len(arm.Trials), maxTrialsShown)] {
		t := &arm.Trials[i]
		name := nameOf(arm.Arm, t)
		if t.Confirmation {
			name += " (confirmation)"
		}
		out = append(out, shownTrial{name, t})
	}
	return out
}

// nameOf names a trial for people: by its arm and by what differs from other trials.
func nameOf(arm string, t *report.Trial) string {
	if t.Label == "" {
		return arm
	}
	return arm + " " + t.Label
}

// overall leaves out the layers of metrics that are there for the whole network
// too: what fits on a screen. summary.json has all.
func overall(ms []report.Metric) []report.Metric {
	whole := map[string]bool{}
	for _, m := range ms {
		if m.Layer == "" {
			whole[m.Metric] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ms), func(m report.Metric) bool { return m.Layer != "" && whole[m.Metric] })
}

func metricName(m report.Metric) string { return columnName(m.Metric, m.Layer) }

// columnName is how people are shown a metric, or that of one layer.
func columnName(metric, layer string) string {
	if layer == "" {
		return metric
	}
	return metric + "/" + layer
}

// lastTask is the value of the last task that was measured.
func lastTask(c report.Curve) render.Span {
	for t := len(c.Mean) - 1; t >= 0; t-- {
		if !math.IsNaN(float64(c.Mean[t])) {
			return render.Span{Mean: float64(c.Mean[t]), Low: float64(c.Low[t]), High: float64(c.High[t])}
		}
	}
	return render.Span{Mean: math.NaN()}
}

func (r *Result) claimTable() *render.Table {
	t := &render.Table{Columns: []render.Column{{Title: "VERDICT"}, {Title: "CLAIM"}, {Title: "VALUE"}, {Title: "HOLDS IF"}, {Title: "SEEDS", Align: render.Right}, {Title: "NOTE"}}}
	var spans []render.Span
	for _, c := range r.Summary.Claims {
		spans = append(spans, span(c.Interval))
		t.Add(VerdictName(c.Verdict), c.Name, "", c.Bound, seedsOf(c.Interval), c.Message)
	}
	fill(t, 2, spans, 1)
	return t
}

// VerdictName is a verdict in words.
func VerdictName(v report.Verdict) string { return strings.ReplaceAll(string(v), "-", " ") }

// StateName is a state in a lower-case word.
func StateName(s pb.ExperimentState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "EXPERIMENT_STATE_"))
}

// RunStateName is a run's state in a lower-case word.
func RunStateName(s pb.RunState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATE_"))
}

// summaryFile is what summary.json holds.
type summaryFile struct {
	ID              string `json:"id"`
	State           string `json:"state"`
	Message         string `json:"message,omitempty"`
	CreatedAt       string `json:"created_at,omitempty"`
	EndedAt         string `json:"ended_at,omitempty"`
	NumericsVersion int32  `json:"numerics_version,omitempty"`
	Runs            counts `json:"runs"`
	Steps           int64  `json:"steps"`
	Tasks           int64  `json:"tasks"`
	*report.Summary
}

// timeFormat of times in summary.json.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

type counts struct {
	All      int `json:"all"`
	Done     int `json:"done"`
	Diverged int `json:"diverged"`
	Failed   int `json:"failed"`
}

// WriteJSON writes the summary as JSON, the content of summary.json.
func (r *Result) WriteJSON(w io.Writer) error {
	e := r.Experiment
	s := summaryFile{
		ID: e.GetId(), State: StateName(e.GetState()), Message: e.GetMessage(), Summary: r.Summary,
		Runs:  counts{All: len(r.Runs), Diverged: len(r.Diverged()), Failed: len(r.Failed())},
		Steps: e.GetProgress().GetStepsDone(), Tasks: e.GetProgress().GetTasksDone(),
	}
	if t := e.GetCreatedAt(); t != nil {
		s.CreatedAt = t.AsTime().Format(timeFormat)
	}
	if t := e.GetEndedAt(); t != nil {
		s.EndedAt = t.AsTime().Format(timeFormat)
	}
	for _, run := range r.Runs {
		if run.GetState() == pb.RunState_RUN_STATE_DONE {
			s.Runs.Done++
		}
		s.NumericsVersion = run.GetNumericsVersion()
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

// Marshal turns a message into indented JSON with the field names of the
// experiment file.
func Marshal(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space from build to build.
	var v any
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.MarshalIndent(v, "", "  ")
}

func floats(ns []report.Number) []float64 {
	out := make([]float64, len(ns))
	for i, n := range ns {
		out[i] = float64(n)
	}
	return out
}
