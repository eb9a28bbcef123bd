// Command schemas turns Kubernetes' OpenAPI description into the JSON schemas
// that kubeconform reads, so that manifests are checked without fetching
// anything: schemas SWAGGER.JSON FOLDER. Unknown fields are mistakes, as with
// kubeconform's own strict schemas.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: schemas SWAGGER.JSON FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

type object = map[string]any

func run(swagger, dir string) error {
	b, err := os.ReadFile(swagger)
	if err != nil {
		return err
	}
	var doc struct{ Definitions map[string]object }
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("read %s: %w", swagger, err)
	}
	if len(doc.Definitions) == 0 {
		return errors.New(swagger + " has no definitions")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, def := range doc.Definitions {
		strict(def)
		switch name {
		case "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
			doc.Definitions[name] = object{"oneOf": []object{{"type": "string"}, {"type": "integer"}}}
		case "io.k8s.apimachinery.pkg.api.resource.Quantity":
			doc.Definitions[name] = object{"oneOf": []object{{"type": "string"}, {"type": "number"}}}
		}
	}
	if err := write(filepath.Join(dir, "definitions.json"), object{"definitions": doc.Definitions}); err != nil {
		return err
	}
	for name, def := range doc.Definitions {
		kinds, _ := def["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			gvk, _ := k.(object)
			group, _, _ := strings.Cut(fmt.Sprint(gvk["group"]), ".")
			parts := []string{fmt.Sprint(gvk["kind"]), group, fmt.Sprint(gvk["version"])}
			if group == "" {
				parts = []string{parts[0], parts[2]}
			}
			schema := object{"$ref": "definitions.json#/definitions/" + name}
			if err := write(filepath.Join(dir, strings.ToLower(strings.Join(parts, "-"))+".json"), schema); err != nil {
				return err
			}
		}
	}
	return nil
}

// strict forbids fields that a schema with properties does not name.
func strict(def object) {
	props, ok := def["properties"].(object)
	if !ok {
		return
	}
	if _, ok := def["additionalProperties"]; !ok {
		def["additionalProperties"] = false
	}
	for _, p := range props {
		if o, ok := p.(object); ok {
			strict(o)
		}
	}
}

func write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
