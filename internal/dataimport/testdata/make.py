"""Writes the files beside it: one small table in each format, for dataimport_test.go. Needs numpy, pyarrow, safetensors."""
import csv, gzip, os
import numpy as np
import pyarrow as pa, pyarrow.parquet as pq
from safetensors.numpy import save_file

os.chdir(os.path.dirname(os.path.abspath(__file__)))
rng = np.random.default_rng(1)
x = rng.normal(size=(24, 4)).astype(np.float32)
x[0] = [0, 1e-30, 3.5, -7]
y = np.arange(24) % 3
names = np.array(["setosa", "versicolor", "virginica"])
t = (x @ np.array([1, 2, 3, 4], np.float32)).astype(np.float32)

np.savez("table.npz", x=x, y=y)
np.savez_compressed("table-compressed.npz", data=x.astype(np.float64), target=names[y])
np.save("table.npy", np.asfortranarray(x.astype(np.float64)))
np.save("labels.npy", y.astype(">i4"))
np.save("targets.npy", t)
np.savez("split.npz", x_train=x[:18], y_train=y[:18], x_test=x[18:], y_test=y[18:], note=np.zeros(1))
save_file({"x": x, "y": y}, "table.safetensors")
columns = {f"f{i}": x[:, i] for i in range(4)}
pq.write_table(pa.table({**columns, "species": names[y]}), "table.parquet")
pq.write_table(pa.table({**{k: v.astype(np.float64) for k, v in columns.items()}, "price": t}), "prices.parquet")
with open("table.csv", "w", newline="") as f:
    w = csv.writer(f, quoting=csv.QUOTE_NONNUMERIC)
    w.writerow(["f0", "f1", "f2", "f3", "species"])
    for row, label in zip(x, y):
        w.writerow([float(v) for v in row] + [str(names[label])])
with open("prices.csv", "w", newline="") as f:
    w = csv.writer(f, delimiter=";")
    w.writerow(["", "f0", "f1", "f2", "f3", "price"])
    for i, (row, v) in enumerate(zip(x, t)):
        w.writerow([i] + [repr(float(c)) for c in row] + [repr(float(v))])
with gzip.GzipFile("table.tsv.gz", "wb", mtime=0) as f:
    for row, label in zip(x, y):
        f.write(("\t".join([repr(float(v)) for v in row] + [str(label)]) + "\n").encode())
images = rng.integers(0, 256, size=(6, 5, 4), dtype=np.uint8)
np.savez("images.npz", images=images, labels=np.arange(6, dtype=np.uint8) % 2)
np.savez("colour.npz", images=np.stack([images, 255 - images, images // 2], -1), labels=np.arange(6, dtype=np.uint8) % 2)
np.save("pickled.npy", np.array([{"a": 1}, "b"], dtype=object), allow_pickle=True)
np.savez("pickled.npz", x=x, y=names[y].astype(object))
np.save("structured.npy", np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]))
np.save("complex.npy", np.ones(3, np.complex64))
