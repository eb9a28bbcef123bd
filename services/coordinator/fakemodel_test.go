package coordinator

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/model"
	"neoteny/services/coordinator/seeds"
)

// shape is a fake experiment; it travels as JSON in the spec's description.
type shape struct {
	Tasks, Steps int32
	Segment      int
	Arms         map[string]int // trials of each
	Seeds        []uint32
	Confirm      []uint32
	// Needs says of an arm whose weights its trials start from: those of the
	// trial of the same number, of that arm.
	Needs map[string]string
	// Once is an analysis over all seeds of the weights of an arm's first trial,
	// Each one for every seed; an arm may need one of them in the place of an arm.
	Once, Each string
	// Deferred measures the arms every so many tasks, deferred, at their ends and, if
	// Starts, before them; 0 for not at all.
	Deferred int32
	Starts   bool
}

// deferred are the steps at which measurements of an arm's runs are deferred.
func (s shape) deferred() (schedules []*pb.AsideSchedule, steps []int64) {
	if s.Deferred == 0 {
		return nil, nil
	}
	schedules = []*pb.AsideSchedule{{Every: s.Deferred}}
	if s.Starts {
		schedules = append(schedules, &pb.AsideSchedule{Every: s.Deferred, Start: true})
	}
	for task := range s.Tasks {
		if s.Starts && task%s.Deferred == 0 {
			steps = append(steps, int64(task)*perTask)
		}
		if (task+1)%s.Deferred == 0 {
			steps = append(steps, int64(task+1)*perTask-1)
		}
	}
	return schedules, steps
}

// analysis is the record of one, which publishes what trials do.
func (s shape) analysis(name, arm string, index int) *pb.TrialRecord {
	own := s.Seeds
	if name == "once" {
		own = own[:1]
	}
	return &pb.TrialRecord{
		Index: int32(index), Name: name, Arm: name, CanonicalSpec: fmt.Appendf(nil, `{"analysis":%q}`, name), Tasks: 1, StepsPerTask: 1, Seeds: seeds.Pack(own),
		Analysis: true, Once: name == "once", Publishes: s.publishes(name),
		Needs: []*pb.TrialNeed{{Name: "of", Trial: arm + "-0", Artifact: "weights", AllSeeds: name == "once"}, {Name: "table", Trial: arm + "-0", Artifact: "table", AllSeeds: name == "once"}},
	}
}

// needs are those of one trial.
func (s shape) needs(arm string, i int) (out []*pb.TrialNeed) {
	if from := s.Needs[arm]; from != "" {
		if from == "once" || from == "each" {
			return []*pb.TrialNeed{{Name: "start", Trial: from, Artifact: "weights"}}
		}
		out = append(out, &pb.TrialNeed{Name: "start", Trial: fmt.Sprintf("%s-%d", from, min(i, s.Arms[from]-1)), Artifact: "weights"})
	}
	return out
}

// publishes is what the trials of an arm leave.
func (s shape) publishes(arm string) (out []string) {
	for _, from := range s.Needs {
		if from == arm {
			return []string{"weights"}
		}
	}
	if arm == s.Once || arm == s.Each {
		return []string{"weights"}
	}
	return nil
}

func (s shape) spec(name string) *pb.ExperimentSpec {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return &pb.ExperimentSpec{Name: name, Description: string(b)}
}

// fakeModel stands for pkg/experiment.
type fakeModel struct {
	plans   atomic.Int64
	failing atomic.Bool
	// panicking is the name of experiments that cannot be planned without a panic;
	// set before the coordinator starts.
	panicking string
	// datasets that every trial reads; set before the first submission.
	datasets []string
	// pack of every trial; set before the first submission.
	pack int32
	// specs of the trials of an arm, by their numbers; nil: each names its trial.
	specs func(i int) string
}

func (m *fakeModel) Plan(spec *pb.ExperimentSpec) (*model.Plan, error) {
	m.plans.Add(1)
	if m.failing.Load() {
		return nil, errors.New("unknown component")
	}
	if m.panicking != "" && spec.GetName() == m.panicking {
		panic("index out of range")
	}
	var s shape
	if err := json.Unmarshal([]byte(spec.GetDescription()), &s); err != nil {
		return nil, component.Fieldf("description", "%v", err)
	}
	if s.Tasks == 0 {
		return nil, errors.Join(component.Fieldf("stream.tasks", "missing"), component.Fieldf("learner.optimizer.lr", "must be above 0"))
	}
	p := &model.Plan{SegmentTasks: s.Segment, ConfirmSeeds: s.Confirm}
	deferred, _ := s.deferred()
	for _, arm := range []string{"a", "b", "c"} {
		n, ok := s.Arms[arm]
		if !ok {
			continue
		}
		p.Arms = append(p.Arms, arm)
		for i := range n {
			canonical := fmt.Sprintf(`{"trial":"%s-%d"}`, arm, i)
			if m.specs != nil {
				canonical = m.specs(i)
			}
			p.Trials = append(p.Trials, &pb.TrialRecord{
				Index: int32(len(p.Trials)), Name: fmt.Sprintf("%s-%d", arm, i), Arm: arm,
				Params:        map[string]string{"lr": fmt.Sprint(i)},
				CanonicalSpec: []byte(canonical),
				Tasks:         s.Tasks, StepsPerTask: int64(s.Steps), Seeds: seeds.Pack(s.Seeds), Datasets: m.datasets, Pack: m.pack,
				Needs: s.needs(arm, i), Publishes: s.publishes(arm), Asides: deferred,
			})
		}
	}
	if s.Once != "" {
		p.Trials = append(p.Trials, s.analysis("once", s.Once, len(p.Trials)))
	}
	if s.Each != "" {
		p.Trials = append(p.Trials, s.analysis("each", s.Each, len(p.Trials)))
	}
	p.Runs = len(p.Trials)*len(s.Seeds) + len(p.Arms)*len(s.Confirm)
	p.Tasks = int64(p.Runs) * int64(s.Tasks)
	p.Steps = p.Tasks * int64(s.Steps)
	p.Segments = int64(p.Runs) * int64((int(s.Tasks)+s.Segment-1)/s.Segment)
	return p, nil
}

func (*fakeModel) Record(canonical []byte) (model.Record, error) { return fakeRecord(canonical), nil }

// fakeRecord is the canonical spec of a trial.
type fakeRecord []byte

func (r fakeRecord) RunKey(seed uint32, inputs []*pb.Input) (string, error) {
	b := fmt.Appendf(nil, "%s %d", r, seed)
	for _, in := range inputs {
		b = fmt.Appendf(b, " %s %s", in.Name, in.Blob.Sha256)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b)), nil
}

// Select takes each arm's trial with the largest value.
func (m *fakeModel) Select(_ *pb.ExperimentSpec, runs []report.RunTable) (map[string]string, error) {
	if m.failing.Load() {
		return nil, errors.New("nothing to choose from")
	}
	best := map[string]report.RunTable{}
	for _, r := range runs {
		if b, ok := best[r.Arm]; !ok || r.Table.Rows[0].Values[0] > b.Table.Rows[0].Values[0] || r.Table.Rows[0].Values[0] == b.Table.Rows[0].Values[0] && r.Trial < b.Trial {
			best[r.Arm] = r
		}
	}
	out := map[string]string{}
	for arm, r := range best {
		out[arm] = r.Trial
	}
	return out, nil
}
