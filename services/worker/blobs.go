package worker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// origin fetches what a run starts from.
func (w *Worker) origin(j *job, run *runInfo) (origin, error) {
	o := origin{seed: run.seed, deferred: cluster.IsDeferred(j.key.track)}
	for _, in := range run.inputs {
		g := given{Input: in}
		err := w.retry(j.steps, "blob", "read artifact", func() (err error) {
			g.file, err = w.store.Get(j.steps, in.GetBlob(), w.cfg.MaxCheckpoint)
			return err
		})
		if err != nil {
			return origin{}, fmt.Errorf("artifact %s (%s of run %s): %w", in.GetName(), in.GetArtifact(), in.GetRun(), err)
		}
		o.inputs = append(o.inputs, g)
	}
	return o, nil
}

// load brings a life that was just made to the first step of the segment.
func (w *Worker) load(j *job, run *runInfo, l life) error {
	b, err := w.checkpoint(j, run)
	if err != nil {
		return err
	}
	if err := l.Load(b); err != nil {
		return &runError{err}
	}
	if first := j.ref.GetFirstStep(); l.Step() != first {
		return fmt.Errorf("checkpoint %s is of step %d, the segment starts at %d", j.start.GetKey(), l.Step(), first)
	}
	return nil
}

// save stores a checkpoint of where l stands.
func (w *Worker) save(j *job, l life, c checkpointer) (*pb.BlobRef, error) {
	begin := time.Now()
	var buf bytes.Buffer
	if err := c.Save(&buf); err != nil {
		return nil, &runError{err}
	}
	sum := sha256.Sum256(buf.Bytes())
	key := fmt.Sprintf("checkpoints/%s/%s/%d-%s.safetensors", j.key.run, j.key.track, l.Step(), hex.EncodeToString(sum[:8]))
	var ref *pb.BlobRef
	err := w.retry(j.ctx, "blob", "write checkpoint", func() (err error) {
		ref, err = w.store.Put(j.ctx, key, buf.Bytes())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("write checkpoint at step %d: %w", l.Step(), err)
	}
	w.tel.Checkpoint(int64(buf.Len()), time.Since(begin))
	return ref, nil
}

// publish stores the artifacts that a run leaves.
func (w *Worker) publish(j *job, run *runInfo, p publisher) (map[string]*pb.BlobRef, error) {
	out := map[string]*pb.BlobRef{}
	for _, name := range run.publishes {
		b, err := p.Artifact(name)
		if err != nil {
			return nil, &runError{err}
		}
		sum := sha256.Sum256(b)
		key, err := cluster.ArtifactKey(j.key.run, hex.EncodeToString(sum[:]))
		if err != nil {
			return nil, err
		}
		err = w.retry(j.ctx, "blob", "write artifact", func() (err error) {
			out[name], err = w.store.Put(j.ctx, key, b)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("write artifact %s: %w", name, err)
		}
	}
	return out, nil
}
