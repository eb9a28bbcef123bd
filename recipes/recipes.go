// Package recipes is the catalogue of papers and the experiments that check
// their claims: papers.tsv, a folder per paper with its recipes, and beside them
// the results that were committed. All of it is built into the program.
package recipes

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
)

//go:embed papers.tsv */*.yaml */results.json
var builtIn embed.FS

// Names of the files beside the recipes.
const (
	papersFile  = "papers.tsv"
	resultsFile = "results.json"
)

// Paper is a row of the catalogue.
type Paper struct {
	Num    int    `json:"num"`
	ID     string `json:"id"`
	Title  string `json:"title"`
	Family string `json:"family"`
	Kind   string `json:"kind"`
	// Tier says how near a paper's claim is to what the engine can do: 1 is the
	// science core.
	Tier  int    `json:"tier"`
	Claim string `json:"claim"`
	// Recipes are the names of its recipe files, sorted.
	Recipes []string `json:"recipes"`
}

// Catalogue is a folder of recipes, the built-in one or another.
type Catalogue struct {
	fsys   fs.FS
	dir    string // "" for the built-in one
	papers []Paper
}

// BuiltIn returns the catalogue that the program was built with.
func BuiltIn() (*Catalogue, error) { return open(builtIn, "") }

// Open reads a folder of recipes. One without a catalogue of its own goes with
// the built-in one.
func Open(dir string) (*Catalogue, error) {
	c, err := open(os.DirFS(dir), dir)
	if err != nil {
		return nil, fmt.Errorf("recipes in %s: %w", dir, err)
	}
	return c, nil
}

func open(fsys fs.FS, dir string) (*Catalogue, error) {
	c := &Catalogue{fsys: fsys, dir: dir}
	b, err := fs.ReadFile(fsys, papersFile)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = builtIn.ReadFile(papersFile)
	}
	if err != nil {
		return nil, err
	}
	if c.papers, err = readPapers(string(b)); err != nil {
		return nil, fmt.Errorf("%s: %w", papersFile, err)
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		files, err := fs.Glob(fsys, e.Name()+"/*.yaml")
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			continue
		}
		i := slices.IndexFunc(c.papers, func(p Paper) bool { return p.ID == e.Name() })
		if i < 0 {
			return nil, fmt.Errorf("folder %s: %s has no paper of this id", e.Name(), papersFile)
		}
		for _, f := range files {
			c.papers[i].Recipes = append(c.papers[i].Recipes, path.Base(f))
		}
	}
	return c, nil
}

// columns of papers.tsv.
var columns = []string{"num", "id", "title", "family", "kind", "tier", "claim"}

func readPapers(text string) ([]Paper, error) {
	var out []Paper
	seen := map[string]bool{}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		f := strings.Split(strings.TrimRight(line, "\r"), "\t")
		if i == 0 {
			if !slices.Equal(f, columns) {
				return nil, fmt.Errorf("line 1: the columns must be %s", strings.Join(columns, ", "))
			}
			continue
		}
		if len(f) != len(columns) {
			return nil, fmt.Errorf("line %d: %d columns, not %d", i+1, len(f), len(columns))
		}
		num, err1 := strconv.Atoi(f[0])
		tier, err2 := strconv.Atoi(f[5])
		switch {
		case errors.Join(err1, err2) != nil:
			return nil, fmt.Errorf("line %d: num and tier must be whole numbers", i+1)
		case f[1] == "" || seen[f[1]]:
			return nil, fmt.Errorf("line %d: the id %q is empty or there already", i+1, f[1])
		}
		seen[f[1]] = true
		out = append(out, Paper{Num: num, ID: f[1], Title: f[2], Family: f[3], Kind: f[4], Tier: tier, Claim: f[6], Recipes: []string{}})
	}
	return out, nil
}

// Dir is the folder that the recipes are in, "" for the built-in ones.
func (c *Catalogue) Dir() string { return c.dir }

// Papers lists all papers: by tier, then as the catalogue has them.
func (c *Catalogue) Papers() []Paper {
	out := slices.Clone(c.papers)
	slices.SortStableFunc(out, func(a, b Paper) int { return a.Tier - b.Tier })
	return out
}

// Paper finds a paper by its id.
func (c *Catalogue) Paper(id string) (Paper, error) {
	var ids []string
	for _, p := range c.papers {
		if p.ID == id {
			return p, nil
		}
		ids = append(ids, p.ID)
	}
	return Paper{}, fmt.Errorf("no paper %q in the catalogue%s; `neoteny papers` lists them", id, component.DidYouMean(id, ids))
}

// Recipe is one experiment file of a paper.
type Recipe struct {
	Paper string // its folder
	File  string // its name there
	Head  []HeadLine
	*experiment.Document
}

// Name is the file's name without its ending.
func (r *Recipe) Name() string { return strings.TrimSuffix(r.File, ".yaml") }

// Recipe reads one recipe file of a paper. It is parsed, in all its forms, but
// not validated.
func (c *Catalogue) Recipe(paper, file string) (*Recipe, error) {
	name := c.Path(paper, file)
	b, err := fs.ReadFile(c.fsys, paper+"/"+file)
	if err != nil {
		return nil, fmt.Errorf("read recipe: %w", err)
	}
	doc, err := experiment.ReadDocument(b, experiment.Options{})
	if err != nil {
		return nil, experiment.InFile(name, err)
	}
	r := &Recipe{Paper: paper, File: file, Document: doc}
	if r.Head, err = ReadHead(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// Path is where a paper's file is, for people.
func (c *Catalogue) Path(paper, file string) string {
	dir := c.dir
	if dir == "" {
		dir = "recipes"
	}
	return path.Join(dir, paper, file)
}
