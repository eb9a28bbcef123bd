// Command policies holds NetworkPolicies to what the parts of a deployment need:
// it reads manifests from standard input (`kubectl kustomize DIR | policies`),
// says for each connection of a table whether the policies let it through, and
// fails where that is not what is wanted. Test clusters often do not enforce
// policies, so nothing else would notice one that keeps DNS out.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"

	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "policies:", err)
		os.Exit(1)
	}
}

// What is read of manifests.
type (
	manifest struct {
		Kind     string
		Metadata struct {
			Name, Namespace string
			Labels          map[string]string
		}
		Spec struct {
			policySpec
			Template struct {
				Metadata struct{ Labels map[string]string }
			}
		}
	}
	policySpec struct {
		PodSelector     selector
		PolicyTypes     []string
		Ingress, Egress []rule
	}
	rule struct {
		From, To []peer
		Ports    []port
	}
	peer struct {
		PodSelector, NamespaceSelector *selector
		IPBlock                        *struct{ CIDR string }
	}
	port struct {
		Protocol string
		Port     int
	}
	selector struct {
		MatchLabels      map[string]string
		MatchExpressions []struct {
			Key, Operator string
			Values        []string
		}
	}
)

// pod is one end of a connection; or an address outside.
type pod struct {
	namespace       string
	namespaceLabels map[string]string
	labels          map[string]string
	address         string
}

const namespace = "neoteny"

// connection is what is asked about: component names, or the names of others.
type connection struct {
	from, to string
	port     port
	want     bool
}

// others are those that a deployment has to do with and that are not of it.
var others = map[string]pod{
	"dns":                {namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}},
	"dns cache":          {address: "169.254.20.10"},
	"internet":           {address: "192.0.2.1"},
	"prometheus":         {namespace: "monitoring", labels: map[string]string{"app.kubernetes.io/name": "prometheus"}},
	"client here":        {namespace: namespace, labels: map[string]string{"neoteny.dev/client": "true"}},
	"client elsewhere":   {namespace: "lab", namespaceLabels: map[string]string{"neoteny.dev/client": "true"}},
	"stranger here":      {namespace: namespace},
	"stranger elsewhere": {namespace: "lab"},
}

// connections is what must pass and what must not. scraped says whether the
// monitoring component is part of the deployment.
func connections(components []string, scraped bool) (out []connection) {
	add := func(want bool, from, to string, ports ...int) {
		for _, p := range ports {
			out = append(out, connection{from, to, port{"TCP", p}, want})
		}
	}
	for _, c := range append(slices.Clone(components), "client here") {
		for _, dns := range []string{"dns", "dns cache"} {
			out = append(out, connection{c, dns, port{"UDP", 53}, true}, connection{c, dns, port{"TCP", 53}, true})
		}
		add(c == "data", c, "internet", 80, 443)
	}
	add(true, "coordinator", "etcd", 2379)
	add(true, "worker", "etcd", 2379)
	add(true, "worker", "metrics", 7080)
	add(true, "etcd", "etcd", 2380)
	for _, client := range []string{"client here", "client elsewhere"} {
		add(true, client, "coordinator", 7070)
		add(true, client, "metrics", 7080)
		add(false, client, "etcd", 2379, 2380)
	}
	for _, stranger := range []string{"stranger here", "stranger elsewhere", "prometheus", "data"} {
		add(false, stranger, "coordinator", 7070)
		add(false, stranger, "metrics", 7080)
		add(false, stranger, "etcd", 2379, 2380)
	}
	add(false, "metrics", "etcd", 2379)
	add(false, "worker", "worker", 7091)
	add(scraped, "prometheus", "coordinator", 7071)
	add(scraped, "prometheus", "metrics", 7081)
	add(scraped, "prometheus", "worker", 7091)
	add(scraped, "prometheus", "etcd", 2381)
	return out
}

func run(in io.Reader, out io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	pods := maps.Clone(others)
	var policies []policySpec
	var components []string
	scraped := false
	for doc := range bytes.SplitSeq(b, []byte("\n---\n")) {
		var m manifest
		if err := yaml.Unmarshal(doc, &m); err != nil {
			return err
		}
		switch m.Kind {
		case "NetworkPolicy":
			if m.Metadata.Namespace != namespace {
				return fmt.Errorf("policy %s is in namespace %q", m.Metadata.Name, m.Metadata.Namespace)
			}
			policies = append(policies, m.Spec.policySpec)
		case "Deployment", "StatefulSet", "Job":
			name := m.Metadata.Name
			pods[name] = pod{namespace: m.Metadata.Namespace, labels: m.Spec.Template.Metadata.Labels}
			components = append(components, name)
		case "PodMonitor":
			scraped = true
		}
	}
	slices.Sort(components)
	if want := []string{"coordinator", "data", "etcd", "metrics", "worker"}; !slices.Equal(components, want) {
		return fmt.Errorf("the manifests have %v, want %v", components, want)
	}
	var errs []error
	all := connections(components, scraped)
	for _, c := range all {
		if got := passes(policies, pods[c.from], pods[c.to], c.port); got != c.want {
			errs = append(errs, fmt.Errorf("%s to %s, %s port %d: let through %t, want %t", c.from, c.to, c.port.Protocol, c.port.Port, got, c.want))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d network policies: %d connections as wanted\n", len(policies), len(all))
	return nil
}

// passes says whether both ends allow a connection.
func passes(policies []policySpec, from, to pod, p port) bool {
	return allows(policies, "Egress", from, to, p) && allows(policies, "Ingress", to, from, p)
}

// allows says whether a pod's policies allow a connection with far. A pod that no
// policy of the direction chooses allows everything; else some rule must.
func allows(policies []policySpec, direction string, at, far pod, p port) bool {
	if at.namespace != namespace {
		return true // no policies of ours there
	}
	free := true
	for _, policy := range policies {
		if !slices.Contains(policy.PolicyTypes, direction) || !policy.PodSelector.matches(at.labels) {
			continue
		}
		free = false
		rules := policy.Ingress
		if direction == "Egress" {
			rules = policy.Egress
		}
		if slices.ContainsFunc(rules, func(r rule) bool { return r.names(far) && r.has(p) }) {
			return true
		}
	}
	return free
}

func (r rule) has(p port) bool { return len(r.Ports) == 0 || slices.Contains(r.Ports, p) }

// names says whether a pod is among a rule's peers; a rule without peers has all.
func (r rule) names(p pod) bool {
	peers := append(slices.Clone(r.From), r.To...)
	return len(peers) == 0 || slices.ContainsFunc(peers, func(q peer) bool { return q.is(p) })
}

func (q peer) is(p pod) bool {
	if q.IPBlock != nil || p.address != "" {
		if q.IPBlock == nil || p.address == "" {
			return false
		}
		return netip.MustParsePrefix(q.IPBlock.CIDR).Contains(netip.MustParseAddr(p.address))
	}
	here := p.namespace == namespace
	if q.NamespaceSelector != nil {
		labels := map[string]string{"kubernetes.io/metadata.name": p.namespace}
		maps.Copy(labels, p.namespaceLabels)
		here = q.NamespaceSelector.matches(labels)
	}
	return here && (q.PodSelector == nil || q.PodSelector.matches(p.labels))
}

// matches says whether a selector chooses something with these labels.
func (s *selector) matches(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if labels[k] != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		if e.Operator != "In" {
			panic("operator " + e.Operator + " is not understood")
		}
		if !slices.Contains(e.Values, labels[e.Key]) {
			return false
		}
	}
	return true
}
