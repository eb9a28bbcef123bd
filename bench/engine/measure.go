package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"neoteny/pkg/engine/data"
)

// result is what came of one case: a line of --json.
type result struct {
	Case   string   `json:"case"`
	Group  string   `json:"group"`
	Note   string   `json:"note,omitempty"`
	Ours   float64  `json:"ours_us,omitempty"` // microseconds of a step or call, median of the rounds
	Peer   string   `json:"peer"`
	PeerUS float64  `json:"peer_us,omitempty"`
	Ratio  float64  `json:"ratio,omitempty"`  // the peer's time to ours
	Target *float64 `json:"target,omitempty"` // least ratio
	Met    *bool    `json:"met,omitempty"`    // ratio and, for products, fraction of the peak
	// Missing says why there is no ratio.
	Missing string `json:"missing,omitempty"`

	OursRounds []float64 `json:"ours_rounds_us,omitempty"`
	PeerRounds []float64 `json:"peer_rounds_us,omitempty"`
	OursLoss   float64   `json:"ours_loss,omitempty"` // mean over the warm-up: both do the same work
	PeerLoss   float64   `json:"peer_loss,omitempty"`
	OursMiB    float64   `json:"ours_mib,omitempty"` // largest resident set of the process
	PeerMiB    float64   `json:"peer_mib,omitempty"`
	ParamsMiB  float64   `json:"params_mib,omitempty"`
	MostMiB    float64   `json:"most_mib,omitempty"`   // what a worker's run may take: datasets, 4 × parameters, 64 MiB
	OursShare  float64   `json:"ours_share,omitempty"` // CPU time to wall time
	PeerShare  float64   `json:"peer_share,omitempty"`
	PeerAbout  string    `json:"peer_about,omitempty"`

	GFLOPS       float64 `json:"gflops,omitempty"`
	PeerGFLOPS   float64 `json:"peer_gflops,omitempty"`
	GonumGFLOPS  float64 `json:"gonum_gflops,omitempty"`
	PeakGFLOPS   float64 `json:"peak_gflops,omitempty"` // fused multiply-adds from registers, in the same rounds
	PeakFraction float64 `json:"peak_fraction,omitempty"`
	PeakTarget   float64 `json:"peak_target,omitempty"`
	GBs          float64 `json:"gb_s,omitempty"`
	PeerGBs      float64 `json:"peer_gb_s,omitempty"`

	Warnings []string `json:"warnings,omitempty"`
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// measureAll measures the cases one after the other and hands each result to
// the report as it comes. Failures of single cases are reported at the end.
func measureAll(ctx context.Context, cases []benchCase, o measureOptions, rep *reporter, progress io.Writer) error {
	dir, err := os.MkdirTemp("", "neoteny-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, err := newInputs(dir, o.data)
	if err != nil {
		return err
	}
	s := &starter{options: o, inputs: in, dir: dir, self: self, built: map[string]error{}}
	defer s.close()
	m, err := describeMachine(ctx, s)
	if err != nil {
		return err
	}
	if err := rep.machine(m); err != nil {
		return err
	}
	reported := map[string]bool{}
	var errs []error
	for i, c := range cases {
		fmt.Fprintf(progress, "[%d/%d] %s\n", i+1, len(cases), c.name)
		r, err := s.measure(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
			r.Missing = err.Error()
		}
		if r.Missing != "" && !reported[r.Missing] {
			fmt.Fprintf(progress, "  %s\n", r.Missing)
			reported[r.Missing] = true
		}
		for _, w := range r.Warnings {
			fmt.Fprintf(progress, "  %s\n", w)
		}
		if err := rep.add(r); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// measure has the contestants of a case run in turns.
func (s *starter) measure(ctx context.Context, c benchCase) (result, error) {
	r := result{Case: c.name, Group: c.group, Note: c.note, Peer: c.peer, Target: c.target, PeakTarget: c.peak}
	ours, err := s.start(ctx, "ours", c.job)
	if errors.Is(err, errNotBuilt) {
		r.Missing = err.Error()
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer ours.close()
	all := []*contestant{ours}
	join := func(name string, j job) (*contestant, error) {
		o, err := s.start(ctx, name, j)
		if absent := (*absentError)(nil); errors.As(err, &absent) {
			r.Missing = absent.problem
			return nil, nil
		}
		if errors.Is(err, errNotBuilt) {
			return nil, nil // the peak of an unknown architecture
		}
		if err == nil {
			all = append(all, o)
		}
		return o, err
	}
	peer, err := join(c.peer, c.peerJob())
	if err != nil {
		return r, err
	}
	others := map[string]*contestant{}
	for _, name := range c.also {
		j := c.job
		j.Impl = name
		if name == "peak" {
			j = job{Kind: "peak"}
		}
		if others[name], err = join(name, j); err != nil {
			return r, err
		}
	}
	for _, o := range all[1:] {
		defer o.close()
	}
	seconds := s.options.seconds
	if c.job.Kind == "gemm" || c.job.Kind == "stream" {
		seconds /= 5
	}
	for range s.options.rounds {
		for _, o := range all {
			if err := o.run(seconds); err != nil {
				return r, err
			}
		}
	}
	clock := s.options.clock
	r.OursRounds = ours.micros(clock)
	r.Ours = median(r.OursRounds)
	r.OursMiB, r.OursLoss = ours.memory(), ours.loss
	r.OursShare, _ = ours.share()
	if c.job.Kind == "life" {
		d, _ := data.Lookup("mnist")
		for _, f := range d.Files {
			r.MostMiB += float64(f.Bytes) / (1 << 20)
		}
		r.MostMiB += 4*4*float64(c.job.params())/(1<<20) + 64
	}
	if c.job.Kind == "train" {
		r.ParamsMiB = 4 * float64(c.job.params()) / (1 << 20)
	}
	if peer != nil {
		scale := 1.0
		if c.job.Kind == "stream" { // time of a copy that moves as many bytes
			scale = c.bytes / (8 * float64(c.job.N))
		}
		for _, us := range peer.micros(clock) {
			r.PeerRounds = append(r.PeerRounds, scale*us)
		}
		r.PeerUS = median(r.PeerRounds)
		r.Ratio = r.PeerUS / r.Ours
		r.PeerMiB, r.PeerLoss, r.PeerAbout = peer.memory(), peer.loss, peer.about.Version
		r.PeerShare, _ = peer.share()
	}
	r.derive(c, others, clock)
	r.warn(c, ours, peer)
	return r, nil
}

// peerJob is the job of the case's peer.
func (c benchCase) peerJob() job {
	j := c.job
	switch c.peer {
	case "copy":
		j.Impl = "copy"
	case "bare":
		j.Kind, j.Metrics = "bare", ""
	case "ready":
		j.Kind = "train"
	case "torch":
		j.Lanes = 0
	}
	return j
}

// derive computes rates and whether the case met its targets.
func (r *result) derive(c benchCase, others map[string]*contestant, clock string) {
	j := c.job
	rates := func(flop float64) {
		flop /= 1e3 // per microsecond: GFLOP/s
		r.GFLOPS = flop / r.Ours
		if r.PeerUS > 0 {
			r.PeerGFLOPS = flop / r.PeerUS
		}
		if o := others["peak"]; o != nil {
			// Its steps are GFLOP.
			r.PeakGFLOPS = 1e6 / median(o.micros(clock))
			r.PeakFraction = r.GFLOPS / r.PeakGFLOPS
		}
	}
	switch j.Kind {
	case "train":
		if j.Batch >= 16 {
			rates(j.work())
		}
	case "gemm":
		rates(2 * float64(j.M) * float64(j.N) * float64(j.K))
		if o := others["gonum"]; o != nil {
			r.GonumGFLOPS = r.GFLOPS * r.Ours / median(o.micros(clock))
		}
	case "stream":
		r.GBs = c.bytes / r.Ours / 1e3
		if r.PeerUS > 0 {
			r.PeerGBs = c.bytes / r.PeerUS / 1e3
		}
	}
	if c.target == nil && c.peak == 0 {
		return
	}
	if c.target != nil && r.Ratio == 0 || c.peak > 0 && r.PeakFraction == 0 {
		return
	}
	met := (c.target == nil || r.Ratio >= *c.target) && r.PeakFraction >= c.peak && (r.MostMiB == 0 || r.OursMiB <= r.MostMiB)
	r.Met = &met
}

// machineBusy begins the warning about other load.
const machineBusy = "The machine was busy"

// warn says what casts doubt on the figures.
func (r *result) warn(c benchCase, ours, peer *contestant) {
	add := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	var busy []string
	for _, o := range []*contestant{ours, peer} {
		if o == nil {
			continue
		}
		share, main := o.share()
		switch {
		case share > 1.02:
			add("%s used %.2f cores", o.name, share)
		case share > 0 && share < 0.95:
			busy = append(busy, fmt.Sprintf("%s had %.0f %%", o.name, 100*share))
		}
		if main < 0.95 {
			add("%s spent %.0f %% of its time in other threads", o.name, 100*(1-main))
		}
		if !o.pinned {
			add("%s was not kept on one core: the system does not let it", o.name)
		}
	}
	if busy != nil {
		add(machineBusy+": of a core, %s", strings.Join(busy, ", "))
	}
	if c.job.Kind == "train" && c.job.Classes > 0 && r.OursLoss > 0 && r.PeerLoss > 0 {
		if d := math.Abs(r.OursLoss - r.PeerLoss); d > 0.25*r.PeerLoss {
			add("the losses differ: ours %.3f, %s %.3f", r.OursLoss, r.Peer, r.PeerLoss)
		}
	}
}
