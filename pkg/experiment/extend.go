package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// Extension says what an experiment is to have more of; zero fields leave it as it is.
type Extension struct {
	Seeds  int    // in all; of an experiment that selects trials: confirmation seeds
	Trials int    // in all, of each random search
	Tasks  int    // in all, of the stream or environment
	Arms   []byte // a file with the field arms, and sweep.arms for those
}

// Extend returns the spec with more of what x says. Whether an experiment can become
// that is for its coordinator to say.
func Extend(spec *pb.ExperimentSpec, x Extension) (*pb.ExperimentSpec, error) {
	out := proto.CloneOf(spec)
	if x.Seeds > 0 {
		if err := moreSeeds(out, x.Seeds); err != nil {
			return nil, err
		}
	}
	if x.Trials > 0 {
		if err := moreTrials(out, x.Trials); err != nil {
			return nil, err
		}
	}
	if x.Tasks > 0 {
		if err := moreTasks(out, x.Tasks); err != nil {
			return nil, err
		}
	}
	if len(x.Arms) > 0 {
		if err := moreArms(out, x.Arms); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func moreSeeds(spec *pb.ExperimentSpec, n int) error {
	at, seeds := "seeds", spec.GetSeeds()
	switch {
	case spec.GetSelect().GetConfirmSeeds() != nil:
		at, seeds = "select.confirm_seeds", spec.Select.ConfirmSeeds
	case spec.GetSelect().GetSeeds() != nil:
		at, seeds = "select.seeds", spec.Select.Seeds
	case seeds == nil:
		seeds = &pb.Seeds{Count: 1}
		spec.Seeds = seeds
	}
	have := max(len(seeds.List), int(seeds.Count))
	if have > n {
		return component.Fieldf(at, "it has %d seeds, more than %d", have, n)
	}
	if len(seeds.List) == 0 {
		seeds.Count = int32(n)
		return nil
	}
	for next := slices.Max(seeds.List) + 1; len(seeds.List) < n; next++ { // wraps at most once: seeds are few
		if !slices.Contains(seeds.List, next) {
			seeds.List = append(seeds.List, next)
		}
	}
	return nil
}

func moreTasks(spec *pb.ExperimentSpec, n int) error {
	at, what := "stream", spec.GetStream()
	if what == nil {
		at, what = "environment", spec.GetEnvironment()
	}
	if what == nil {
		return component.Fieldf("stream", "more tasks: the experiment has no stream that all arms share")
	}
	if have := what.Fields["tasks"].GetNumberValue(); have > float64(n) {
		return component.Fieldf(at+".tasks", "it has %v tasks, more than %d", have, n)
	}
	if what.Fields == nil {
		what.Fields = map[string]*structpb.Value{}
	}
	what.Fields["tasks"] = structpb.NewNumberValue(float64(n))
	return nil
}

func moreTrials(spec *pb.ExperimentSpec, n int) error {
	var searches []*pb.RandomSearch
	add := func(r *pb.RandomSearch) {
		if r != nil {
			searches = append(searches, r)
		}
	}
	add(spec.GetSweep().GetRandom())
	for _, name := range slices.Sorted(maps.Keys(spec.GetSweep().GetArms())) {
		add(spec.Sweep.Arms[name].GetRandom())
	}
	if len(searches) == 0 {
		return component.Fieldf("sweep.random", "more trials: the experiment has no random search")
	}
	for _, r := range searches {
		if int(r.Count) > n {
			return component.Fieldf("sweep.random.count", "it has %d trials, more than %d", r.Count, n)
		}
		r.Count = int32(n)
	}
	return nil
}

func moreArms(spec *pb.ExperimentSpec, file []byte) error {
	more, err := Parse(append(slices.Clone(file), []byte("\nname: more\n")...))
	if err != nil {
		return err
	}
	rest := proto.CloneOf(more)
	rest.Name, rest.Arms, rest.ArmOrder = "", nil, nil
	if rest.GetSweep() != nil {
		rest.Sweep.Arms = nil
	}
	if !proto.Equal(rest, &pb.ExperimentSpec{}) && !proto.Equal(rest, &pb.ExperimentSpec{Sweep: &pb.Sweep{}}) {
		return fmt.Errorf("a file of more arms has the field arms, and sweep.arms for them, nothing else")
	}
	if len(more.Arms) == 0 {
		return component.Fieldf("arms", "the file has none")
	}
	before := ArmOrder(spec)
	names := slices.Sorted(maps.Keys(more.Arms))
	if len(more.ArmOrder) > 0 {
		names = more.ArmOrder
	}
	for _, name := range names {
		if slices.Contains(before, name) {
			return component.Fieldf(keyed("arms", name), "the experiment has an arm of this name")
		}
		if len(spec.Arms) == 0 { // it has one, which is the experiment as it stands
			spec.Arms = map[string]*structpb.Struct{BaseArm: {}}
		}
		spec.Arms[name] = more.Arms[name]
	}
	for name, s := range more.GetSweep().GetArms() {
		if !slices.Contains(names, name) {
			return component.Fieldf(keyed("sweep.arms", name), "the file has no arm of this name (have: %s)", strings.Join(names, ", "))
		}
		if spec.Sweep == nil {
			spec.Sweep = &pb.Sweep{}
		}
		if spec.Sweep.Arms == nil {
			spec.Sweep.Arms = map[string]*pb.SweepSpace{}
		}
		spec.Sweep.Arms[name] = s
	}
	if len(spec.ArmOrder) > 0 {
		spec.ArmOrder = append(spec.ArmOrder, names...)
	}
	return nil
}
