package data

import "slices"

// Catalogue returns the datasets that the engine knows, sorted by name. It does no I/O; the result is the
// caller's to change. Those in a container are made of tables that distributions package (internal/datastore/packaged.go);
// the archives' digests are those that TensorFlow Datasets publishes for them (url_checksums).
func Catalogue() []Meta {
	return []Meta{
		{
			Name:    "breast-cancer",
			Title:   "Breast Cancer Wisconsin (diagnostic)",
			Source:  "Street, Wolberg and Mangasarian, Nuclear feature extraction for breast tumor diagnosis, 1993",
			Shape:   []int{30},
			Classes: 2,
			Train:   456,
			Test:    113,
			Floats:  true,
			Fewest:  170,
			Format:  Container,
			Files:   []File{{"breast-cancer.safetensors", "5dc97395e70967248b257da0f183bab1a74b70f4a1c69107134efdc17b53700a", 69233}},
		},
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
			Name:    "co2",
			Title:   "CO₂ at Mauna Loa, monthly means: the next one from the 12 before",
			Source:  "Keeling and Whorf, Atmospheric CO2 concentrations derived from flask air samples at sites in the SIO network, 2004",
			Shape:   []int{12},
			Train:   412,
			Test:    102,
			Floats:  true,
			Targets: 1,
			Format:  Container,
			Files:   []File{{"co2.safetensors", "dabe84bebef0039fd695f161c505ab181634b0347dc32585fc8796b06c65e256", 27112}},
		},
		{
			Name:    "diabetes",
			Title:   "Diabetes: progression after a year from ten measurements",
			Source:  "Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, Annals of Statistics, 2004",
			Shape:   []int{10},
			Train:   354,
			Test:    88,
			Floats:  true,
			Targets: 1,
			Format:  Container,
			Files:   []File{{"diabetes.safetensors", "3f949238a35145af9220d894920791353fafbf9d30f73ad6c7ed771d7fd8b312", 19832}},
		},
		{
			Name:    "digits",
			Title:   "Optical recognition of handwritten digits, 8 by 8 pixels of 0 to 16",
			Source:  "Alpaydin and Kaynak, Cascading Classifiers, Kybernetika, 1998",
			Shape:   []int{8, 8},
			Classes: 10,
			Train:   1438,
			Test:    359,
			Floats:  true,
			Fewest:  139,
			Format:  Container,
			Files:   []File{{"digits.safetensors", "e9eae2527fb1c0b47121afad35cf2a3777fd330eb60515ca6353fd6e1436c4f7", 462213}},
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
			Name:    "iris",
			Title:   "Iris flowers",
			Source:  "Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics, 1936",
			Shape:   []int{4},
			Classes: 3,
			Train:   120,
			Test:    30,
			Floats:  true,
			Fewest:  40,
			Format:  Container,
			Files:   []File{{"iris.safetensors", "e4c68aa52403568da59ca84a333a39452a039474a8d30d7e44fa5cd6860f9265", 2934}},
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
		{
			Name:    "sunspots",
			Title:   "Sunspots of a year, 1700 to 2008: the next number from the 11 before",
			Source:  "SIDC, Royal Observatory of Belgium, Sunspot Index and Long-term Solar Observations",
			Shape:   []int{11},
			Train:   239,
			Test:    59,
			Floats:  true,
			Targets: 1,
			Format:  Container,
			Files:   []File{{"sunspots.safetensors", "91dcc7a5ad02b63a3d3288915d69f9f820818405d45844e6cee198bdc209e507", 14688}},
		},
		{
			Name:    "wine",
			Title:   "Wine recognition",
			Source:  "Aeberhard, Coomans and de Vel, Comparison of classifiers in high dimensional settings, 1992",
			Shape:   []int{13},
			Classes: 3,
			Train:   142,
			Test:    36,
			Floats:  true,
			Fewest:  38,
			Format:  Container,
			Files:   []File{{"wine.safetensors", "abb7b87536cb2fa6bd78288d7b7de0f5a464a18c9a486b3696b85b00b3517872", 9818}},
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
