package data

import "slices"

// Catalogue returns the datasets that the engine knows, sorted by name. It does no I/O; the result is the
// caller's to change. The archives' digests are those that TensorFlow Datasets publishes for them (url_checksums).
func Catalogue() []Meta {
	return []Meta{
		{
			Name:    "cifar-10",
			Title:   "CIFAR-10",
			Source:  "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
			Shape:   []int{3, 32, 32},
			Classes: 10,
			Train:   50000,
			Test:    10000,
			Format:  CIFAR,
			Files:   []File{{"cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170052171}},
			Archive: Archive{
				Train: []string{
					"cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/data_batch_2.bin", "cifar-10-batches-bin/data_batch_3.bin",
					"cifar-10-batches-bin/data_batch_4.bin", "cifar-10-batches-bin/data_batch_5.bin",
				},
				Test:   []string{"cifar-10-batches-bin/test_batch.bin"},
				Labels: 1,
			},
		},
		{
			Name:    "cifar-100",
			Title:   "CIFAR-100, fine labels",
			Source:  "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
			Shape:   []int{3, 32, 32},
			Classes: 100,
			Train:   50000,
			Test:    10000,
			Format:  CIFAR,
			Files:   []File{{"cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", 168513733}},
			Archive: Archive{Train: []string{"cifar-100-binary/train.bin"}, Test: []string{"cifar-100-binary/test.bin"}, Labels: 2},
		},
		{
			Name:    "emnist-balanced",
			Title:   "EMNIST, balanced split",
			Source:  "Cohen, Afshar, Tapson and van Schaik, EMNIST: an extension of MNIST to handwritten letters, 2017",
			Shape:   []int{28, 28},
			Classes: 47,
			Train:   112800,
			Test:    18800,
			Format:  EMNIST,
			Files:   []File{{"gzip.zip", "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e", 561753746}},
			Archive: Archive{
				Train: []string{"gzip/emnist-balanced-train-images-idx3-ubyte.gz", "gzip/emnist-balanced-train-labels-idx1-ubyte.gz"},
				Test:  []string{"gzip/emnist-balanced-test-images-idx3-ubyte.gz", "gzip/emnist-balanced-test-labels-idx1-ubyte.gz"},
			},
		},
		{
			Name:    "fashion-mnist",
			Title:   "Fashion-MNIST",
			Source:  "Xiao, Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017",
			Shape:   []int{28, 28},
			Classes: 10,
			Train:   60000,
			Test:    10000,
			Files: []File{
				{"train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47040016},
				{"train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60008},
				{"t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7840016},
				{"t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10008},
			},
		},
		{
			Name:    "mnist",
			Title:   "MNIST handwritten digits",
			Source:  "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, Proceedings of the IEEE, 1998",
			Shape:   []int{28, 28},
			Classes: 10,
			Train:   60000,
			Test:    10000,
			Files: []File{
				{"train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47040016},
				{"train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60008},
				{"t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7840016},
				{"t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10008},
			},
		},
	}
}

// Lookup returns the catalogue's entry of that name, or what a reference to an own dataset says of it.
func Lookup(name string) (Meta, bool) {
	if IsRef(name) {
		m, err := ParseRef(name)
		return m, err == nil
	}
	return find(Catalogue(), name)
}

func find(catalogue []Meta, name string) (Meta, bool) {
	i := slices.IndexFunc(catalogue, func(m Meta) bool { return m.Name == name })
	if i < 0 {
		return Meta{}, false
	}
	return catalogue[i], true
}
