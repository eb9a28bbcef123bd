package experiment

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// Every bad input ends in one message that names the field and the fix.
func TestValidateErrors(t *testing.T) {
	claimOf := func(value string) map[string]string {
		return map[string]string{"claims": fmt.Sprintf("claims: [{name: c, value: %q, holds: {gt: 0}}]", value)}
	}
	both := func(a, b map[string]string) map[string]string {
		for k, v := range b {
			a[k] = v
		}
		return a
	}
	arms := map[string]string{"arms": "arms: {plain: {learner: {methods: []}}, decay: {}}"}
	for name, c := range map[string]struct {
		in   map[string]string
		want []string // field, then parts of the problem
	}{
		"no name":                   {map[string]string{"name": ""}, []string{"name", "missing"}},
		"bad name":                  {map[string]string{"name": "name: My_Exp"}, []string{"name", `"My_Exp" is not a name: use lower-case letters, digits and hyphens`}},
		"no stream":                 {map[string]string{"stream": ""}, []string{"stream", "missing"}},
		"unknown component":         {map[string]string{"stream": "stream: {kind: test-steam}"}, []string{"stream.kind", `unknown stream "test-steam", did you mean "test-stream"?`}},
		"unknown parameter":         {map[string]string{"learner": "learner: {network: {kind: mlp, hiden: [3]}, optimizer: {kind: sgd}}"}, []string{"learner.network.hiden", `mlp has no such parameter, did you mean "hidden"?`}},
		"out of range":              {map[string]string{"stream": "stream: {kind: test-stream, tasks: 0}"}, []string{"stream.tasks", "must be between 1 and"}},
		"unknown dataset":           {map[string]string{"stream": "stream: {kind: test-stream, dataset: emnist-99}"}, []string{"stream.dataset", `dataset "emnist-99" is not in the catalogue`}},
		"unknown dataset in an arm": {map[string]string{"arms": "arms: {a: {stream: {dataset: emnist-99}}}"}, []string{"arms.a.stream.dataset", "is not in the catalogue"}},
		"environment":               {map[string]string{"more": "environment: {kind: ant}"}, []string{"environment", "there is a stream too"}},

		"batch over the task":     {map[string]string{"stream": "stream: {kind: test-stream, batch: 200}"}, []string{"stream.batch", "must be at most the 100 examples of a task, is 200"}},
		"part of a name":          {map[string]string{"probes": "probes: [{kind: accuracy}]"}, []string{"probes[0].kind", `unknown probe "accuracy", did you mean "test-accuracy"?`}},
		"part of a metric":        {map[string]string{"select": "select: {metric: accuracy, mode: max}"}, []string{"select.metric", `did you mean "test_accuracy"?`}},
		"claim that divides by 0": {claimOf(`arms["base"].test_accuracy.mean() / 0`), []string{"claims[0].value", "does it divide by zero?"}},

		"arm name":               {map[string]string{"arms": "arms: {L2!: {}}"}, []string{`arms["L2!"]`, `is not a name`}},
		"arm patches something":  {map[string]string{"arms": "arms: {a: {lerner: {}}}"}, []string{"arms.a.lerner", `an arm cannot change this, did you mean "learner"?`}},
		"arm environment":        {map[string]string{"arms": "arms: {a: {environment: {kind: ant}}}"}, []string{"arms.a.environment", "there is a stream too"}},
		"parameter in an arm":    {map[string]string{"arms": "arms: {ok: {}, l2: {learner: {methods: [{kind: test-decay, lamda: 1}]}}}"}, []string{"arms.l2.learner.methods[0].lamda", `did you mean "lambda"?`}},
		"value in an arm":        {map[string]string{"arms": "arms: {ok: {}, l2: {stream: {tasks: -1}}}"}, []string{"arms.l2.stream.tasks", "must be between"}},
		"base wrong in all arms": {map[string]string{"stream": "stream: {kind: test-stream, task: 3}", "arms": "arms: {a: {}, b: {learner: {methods: []}}}"}, []string{"stream.task", `did you mean "tasks"?`}},
		"base wrong in one arm":  {map[string]string{"stream": "stream: {kind: test-stream, task: 3}", "arms": "arms: {a: {}, b: {stream: {task: null}}}"}, []string{"stream.task", `did you mean "tasks"?`, `(in arm a)`}},
		"stream is deleted":      {map[string]string{"arms": "arms: {a: {stream: null}}"}, []string{"arms.a.stream", "missing"}},
		"arm probes no list":     {map[string]string{"arms": "arms: {a: {probes: 3}}"}, []string{"arms.a.probes", "must be a list, is 3"}},

		"sweep of nothing":        {map[string]string{"sweep": "sweep: {}"}, []string{"sweep", "varies nothing"}},
		"sweep path":              {map[string]string{"sweep": "sweep: {grid: {learner.optimiser.lr: [1, 2]}}"}, []string{`sweep.grid["learner.optimiser.lr"]`, `no such parameter in arm "base": learner has no field "optimiser"; nearest: learner.optimizer.lr`}},
		"sweep parameter":         {map[string]string{"sweep": "sweep: {grid: {learner.optimizer.lrr: [1, 2]}}"}, []string{`sweep.grid["learner.optimizer.lrr"]`, `learner.optimizer has no field "lrr"; nearest: learner.optimizer.lr`}},
		"sweep index":             {map[string]string{"sweep": "sweep: {grid: {'learner.methods[3].lambda': [1, 2]}}"}, []string{`sweep.grid["learner.methods[3].lambda"]`, "learner.methods has 1 entries, none at index 3"}},
		"sweep kind":              {map[string]string{"sweep": "sweep: {grid: {'learner.methods[l2].lambda': [1, 2]}}"}, []string{`sweep.grid["learner.methods[l2].lambda"]`, `learner.methods has no entry of kind "l2"; nearest: learner.methods[0].lambda`}},
		"sweep kind in one arm":   {both(map[string]string{"sweep": "sweep: {grid: {'learner.methods[test-decay].lambda': [1, 2]}}"}, arms), []string{`sweep.grid["learner.methods[test-decay].lambda"]`, `no such parameter in arm "plain"`, "what only some arms have is varied under sweep.arms"}},
		"sweep kind twice":        {map[string]string{"sweep": "sweep: {grid: {'probes[test-accuracy].every': [1, 2]}}", "probes": "probes: [{kind: test-accuracy}, {kind: test-accuracy, as: other}]"}, []string{`sweep.grid["probes[test-accuracy].every"]`, "probes has 2 entries of kind", "name one by index"}},
		"sweep outside":           {map[string]string{"sweep": "sweep: {grid: {seeds.count: [1, 2]}}"}, []string{`sweep.grid["seeds.count"]`, "a path begins with one of stream, environment, learner, probes"}},
		"sweep syntax":            {map[string]string{"sweep": "sweep: {grid: {'learner..lr': [1, 2]}}"}, []string{`sweep.grid["learner..lr"]`, "not a path"}},
		"empty grid list":         {map[string]string{"sweep": "sweep: {grid: {learner.optimizer.lr: []}}"}, []string{`sweep.grid["learner.optimizer.lr"]`, "an empty list: give at least one value"}},
		"value given twice":       {map[string]string{"sweep": "sweep: {grid: {learner.optimizer.lr: [0.1, 0.2, 1.0e-1]}}"}, []string{`sweep.grid["learner.optimizer.lr"][2]`, "0.1 is given twice, first at index 0"}},
		"null value":              {map[string]string{"sweep": "sweep: {grid: {learner.optimizer.lr: [~]}}"}, []string{`sweep.grid["learner.optimizer.lr"][0]`, "has no value"}},
		"value out of range":      {map[string]string{"sweep": "sweep: {grid: {stream.tasks: [10, -5]}}"}, []string{`sweep.grid["stream.tasks"][1]`, "stream.tasks -5: must be between 1 and"}},
		"value of a wrong type":   {map[string]string{"sweep": "sweep: {grid: {stream.tasks: [ten]}}"}, []string{`sweep.grid["stream.tasks"][0]`, `stream.tasks "ten": must be a whole number`}},
		"values at odds":          {map[string]string{"sweep": "sweep: {grid: {stream.examples: [100], stream.batch: [10, 7]}}"}, []string{`sweep.grid["stream.batch"][1]`, "7 does not divide the 100 examples"}},
		"path varied twice":       {map[string]string{"sweep": "sweep: {grid: {'learner.methods[0].lambda': [1, 2], 'learner.methods[test-decay].lambda': [3]}}"}, []string{`sweep.grid["learner.methods[test-decay].lambda"]`, `learner.methods[0].lambda is varied by sweep.grid["learner.methods[0].lambda"] already`}},
		"path inside another":     {map[string]string{"sweep": "sweep: {grid: {learner.optimizer: [{kind: sgd}], learner.optimizer.lr: [3]}}"}, []string{`sweep.grid["learner.optimizer.lr"]`, "is varied by"}},
		"grid and random":         {map[string]string{"sweep": "sweep: {grid: {learner.optimizer.lr: [1]}, random: {count: 1, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}"}, []string{`sweep.grid["learner.optimizer.lr"]`, "is varied by"}},
		"bounds reversed":         {map[string]string{"sweep": "sweep: {random: {count: 1, params: {learner.optimizer.lr: {uniform: [1, 0.5]}}}}"}, []string{`sweep.random.params["learner.optimizer.lr"].uniform`, "the bounds are reversed: low 1 is above high 0.5"}},
		"bounds equal":            {map[string]string{"sweep": "sweep: {random: {count: 1, params: {learner.optimizer.lr: {uniform: [1, 1]}}}}"}, []string{`sweep.random.params["learner.optimizer.lr"].uniform`, "nothing to draw"}},
		"one bound":               {map[string]string{"sweep": "sweep: {random: {count: 1, params: {learner.optimizer.lr: {uniform: [1]}}}}"}, []string{`sweep.random.params["learner.optimizer.lr"].uniform`, "must be [low, high], has 1 values"}},
		"log of zero":             {map[string]string{"sweep": "sweep: {random: {count: 1, params: {learner.optimizer.lr: {log_uniform: [0, 1]}}}}"}, []string{`sweep.random.params["learner.optimizer.lr"].log_uniform[0]`, "greater than 0"}},
		"two distributions":       {map[string]string{"sweep": "sweep: {random: {count: 1, params: {learner.optimizer.lr: {uniform: [0, 1], choice: [1]}}}}"}, []string{`sweep.random.params["learner.optimizer.lr"]`, "only one of uniform, log_uniform, choice can be set"}},
		"no distribution":         {map[string]string{"sweep": "sweep: {random: {count: 1, params: {learner.optimizer.lr: {}}}}"}, []string{`sweep.random.params["learner.optimizer.lr"]`, "one of uniform, log_uniform, choice must be set"}},
		"no draws":                {map[string]string{"sweep": "sweep: {random: {count: 0, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}"}, []string{"sweep.random.count", "1"}},
		"a drawn value":           {map[string]string{"sweep": "sweep: {random: {count: 1, params: {stream.tasks: {uniform: [1, 100]}}}}"}, []string{`sweep.random.params["stream.tasks"]`, "must be a whole number", "drawn for trial base-0000"}},
		"sweep of an unknown arm": {both(map[string]string{"sweep": "sweep: {arms: {decy: {grid: {learner.optimizer.lr: [1]}}}}"}, arms), []string{"sweep.arms.decy", `there is no arm "decy", did you mean "decay"? (have: decay, plain)`}},
		"arm varies nothing":      {both(map[string]string{"sweep": "sweep: {arms: {decay: {}}}"}, arms), []string{"sweep.arms.decay", "varies nothing"}},
		"trial names collide":     {map[string]string{"arms": "arms: {a: {}, a-0001: {}}", "sweep": "sweep: {arms: {a: {grid: {learner.optimizer.lr: [1, 2]}}}}"}, []string{"arms.a-0001", `trial "a-0001" of this arm has the name of a trial of arm "a"`}},

		"no seeds":            {map[string]string{"seeds": "seeds: {}"}, []string{"seeds", "no seeds: give count (at least 1) or list"}},
		"count and list":      {map[string]string{"seeds": "seeds: {count: 1, list: [3]}"}, []string{"seeds", "give either count or list"}},
		"negative count":      {map[string]string{"seeds": "seeds: {count: -1}"}, []string{"seeds.count", "greater than or equal to 0"}},
		"seed twice":          {map[string]string{"seeds": "seeds: {list: [1, 2, 1]}"}, []string{"seeds.list", "unique"}},
		"beyond the last":     {map[string]string{"seeds": "seeds: {first: 4294967295, count: 2}"}, []string{"seeds", "go beyond the largest seed"}},
		"ten million runs":    {map[string]string{"sweep": "sweep: {random: {count: 100000, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}", "seeds": "seeds: {count: 100}"}, []string{"sweep", "10000000 runs (100000 trials × 100 seeds) are more than the 1000000 that one experiment may have"}},
		"too many trials":     {map[string]string{"sweep": "sweep: {random: {count: 1000000, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}"}, []string{"sweep", "1000000 trials are more than the 100000"}},
		"too many seeds":      {map[string]string{"seeds": "seeds: {count: 100001}"}, []string{"seeds.count", "less than or equal to 100000"}},
		"too long a segment":  {map[string]string{"segments": "segments: {tasks: -1}"}, []string{"segments.tasks", "greater than or equal to 0"}},
		"tuning seeds twice":  {map[string]string{"seeds": "seeds: {count: 2}", "select": "select: {metric: test_accuracy, mode: max, seeds: {count: 3}}"}, []string{"select.seeds", "given twice"}},
		"confirm overlap":     {map[string]string{"seeds": "seeds: {count: 4}", "select": "select: {metric: test_accuracy, mode: max, confirm_seeds: {first: 3, count: 3}}"}, []string{"select.confirm_seeds", "seed 3 is a tuning seed too"}},
		"no confirm seeds":    {map[string]string{"select": "select: {metric: test_accuracy, mode: max, confirm_seeds: {}}"}, []string{"select.confirm_seeds", "no seeds"}},
		"select no metric":    {map[string]string{"select": "select: {mode: max}"}, []string{"select", "give a metric or a value"}},
		"select unknown":      {map[string]string{"select": "select: {metric: test_accurac, mode: max}"}, []string{"select.metric", `arm "base" does not measure "test_accurac", did you mean "test_accuracy"? (have: test_accuracy, test_dormant)`}},
		"select mode":         {map[string]string{"select": "select: {metric: test_accuracy, mode: best}"}, []string{"select.mode", "in list"}},
		"claim without holds": {map[string]string{"claims": "claims: [{name: c, value: arms.base.test_accuracy.mean()}]"}, []string{"claims[0]", "holds"}},
		"claim two bounds":    {map[string]string{"claims": "claims: [{name: c, value: arms.base.test_accuracy.mean(), holds: {gt: 1, lt: 2}}]"}, []string{"claims[0].holds", "only one of gt, ge, lt, le can be set"}},
		"claim name twice":    {map[string]string{"claims": "claims: [{name: c, value: arms.base.test_accuracy.mean(), holds: {gt: 1}}, {name: c, value: arms.base.test_accuracy.min(), holds: {gt: 1}}]"}, []string{"claims[1].name", `claim "c" has the name of claims[0]`}},
		"claim syntax":        {claimOf(`arms["base"].test_accuracy.mean( - 1`), []string{"claims[0].value", "column"}},
		"claim unknown arm":   {claimOf(`arms["bse"].test_accuracy.mean()`), []string{"claims[0].value", `there is no arm "bse", did you mean "base"? (have: base)`}},
		"claim metric":        {claimOf(`arms["base"].test_acc.mean()`), []string{"claims[0].value", `arm "base" does not measure "test_acc"`}},
		"claim too long":      {claimOf(`arms["base"].test_accuracy.last(21).mean()`), []string{"claims[0].value", "last(21) of 20 tasks"}},
		"claim many trials":   {both(claimOf(`arms["base"].test_accuracy.mean()`), map[string]string{"sweep": "sweep: {grid: {learner.optimizer.lr: [1, 2]}}"}), []string{"claims[0].value", `arm "base" has 2 trials: say with select how to pick`}},
		"claim fewest tasks":  {both(claimOf(`arms["base"].test_accuracy.last(9).mean()`), map[string]string{"sweep": "sweep: {grid: {stream.tasks: [5, 10]}}", "select": "select: {metric: test_accuracy, mode: max}"}), []string{"claims[0].value", "last(9) of 5 tasks"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(parse(t, c.in))
			require.Error(t, err)
			fields := component.FieldErrors(err)
			require.Len(t, fields, 1, "one message: %v", err)
			require.Equal(t, c.want[0], fields[0].Field, fields[0].Problem)
			for _, part := range c.want[1:] {
				require.Contains(t, fields[0].Problem, part)
			}
		})
	}
}

func TestValidateReportsAllMistakes(t *testing.T) {
	err := Validate(parse(t, map[string]string{
		"name":    "name: X",
		"learner": "learner: {network: {kind: mpl}, optimizer: {kind: sgd, lr: -1}, methods: [{kind: test-decay, lambda: -1}]}",
		"sweep":   "sweep: {grid: {nothing: []}}",
		"seeds":   "seeds: {}",
		"claims":  "claims: [{name: c, value: '1 +', holds: {gt: 1}}]",
		"needs":   "needs: {start: {artifact: weights}}",
	}))
	var got []string
	for _, fe := range component.FieldErrors(err) {
		got = append(got, fe.Field)
	}
	require.ElementsMatch(t, []string{"name", "learner.network.kind", "learner.optimizer.lr", "learner.methods[0].lambda", "sweep.grid.nothing", "seeds", "claims[0].value", "needs.start"}, got)
}

// What comes over the wire has not passed Parse.
func TestValidateHostileSpecs(t *testing.T) {
	require.Error(t, Validate(nil))
	require.Error(t, Validate(&pb.ExperimentSpec{}))

	spec := parse(t, nil)
	spec.Learner.Fields["optimizer"].GetStructValue().Fields["lr"] = structpb.NewNumberValue(math.NaN())
	require.ErrorContains(t, Validate(spec), "learner.optimizer.lr: NaN is not a value")

	spec = parse(t, map[string]string{"arms": "arms: {a: {}}"})
	spec.Arms["a"].Fields = map[string]*structpb.Value{"stream": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"tasks": structpb.NewNumberValue(math.Inf(1))}})}
	require.ErrorContains(t, Validate(spec), "arms.a.stream.tasks: Inf is not a value")

	spec = parse(t, nil)
	deep := structpb.NewNullValue()
	for range 5000 {
		deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
	}
	spec.Stream.Fields["x"] = deep
	require.ErrorContains(t, Validate(spec), "more than 64 objects and lists inside each other")

	spec = parse(t, map[string]string{"sweep": "sweep: {grid: {stream.tasks: [1]}}"})
	spec.Sweep.Grid["stream.tasks"] = nil
	require.ErrorContains(t, Validate(spec), `sweep.grid["stream.tasks"]: an empty list`)

	spec = parse(t, nil)
	spec.Arms = map[string]*structpb.Struct{}
	for i := range 5000 {
		spec.Arms[fmt.Sprintf("a%d", i)] = nil
	}
	require.ErrorContains(t, Validate(spec), "arms: ")

	spec = parse(t, map[string]string{"arms": "arms: {a: {}}"})
	spec.Arms["a"] = nil
	require.NoError(t, Validate(spec))
	spec.Probes = append(spec.Probes, nil)
	require.Error(t, Validate(spec))

	// A grid of 10^60 assignments overflows nothing.
	grid := map[string]*structpb.ListValue{}
	for i := range 30 {
		l := &structpb.ListValue{}
		for v := range 100 {
			l.Values = append(l.Values, structpb.NewNumberValue(float64(v)))
		}
		grid[fmt.Sprintf("stream.p%d", i)] = l
	}
	spec = parse(t, nil)
	spec.Sweep = &pb.Sweep{Grid: grid}
	require.ErrorContains(t, Validate(spec), "sweep: more than 10^19 runs")
}

// TestRefusedSeedsTakeNoMemory: 2·10⁹ seeds are 8 GB.
func TestRefusedSeedsTakeNoMemory(t *testing.T) {
	many := &pb.Seeds{Count: 2_000_000_000}
	for name, spec := range map[string]*pb.ExperimentSpec{
		"seeds":                {Name: "x", Seeds: many},
		"select.seeds":         {Name: "x", Select: &pb.Select{Metric: "loss", Mode: "min", Seeds: many}},
		"select.confirm_seeds": {Name: "x", Select: &pb.Select{Metric: "loss", Mode: "min", ConfirmSeeds: many}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := Validate(spec)
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, name+".count: must be", name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<28), name)
	}
}
