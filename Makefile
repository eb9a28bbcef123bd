# What a developer runs. CI is .ci/run; plain `go build` and `go test ./...`
# need nothing of this.

BIN := bin
export GOBIN := $(CURDIR)/bin
export PATH := $(GOBIN):$(PATH)

BUF_VERSION          := v1.75.0
PROTOC_GEN_GO        := v1.36.12
PROTOC_GEN_GO_GRPC   := v1.6.2
PROTOVALIDATE        := v1.2.2
GOLANGCI_VERSION     := v2.15.0
GRPCURL_VERSION      := v1.9.4

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## the program, bin/neoteny
	go build -trimpath -o $(BIN)/neoteny ./cmd/neoteny

IMAGE    ?= neoteny:dev
TAGS     ?= s3
CA_CERTS ?= /etc/ssl/certs/ca-certificates.crt

.PHONY: image
image: ## the container image (IMAGE=neoteny:dev, TAGS=cloud for Google buckets too), from the program built here; needs Docker
	@test -r $(CA_CERTS) || { echo "no CA certificates at $(CA_CERTS): install ca-certificates, or give CA_CERTS=FILE" >&2; exit 1; }
	rm -rf $(BIN)/image && mkdir -p $(BIN)/image/etc/ssl/certs $(BIN)/image/tmp $(BIN)/image/data $(BIN)/image/var/lib/neoteny && chmod 1777 $(BIN)/image/tmp
	CGO_ENABLED=0 GOOS=linux go build -trimpath -tags "$(TAGS)" -ldflags "-s -w" -o $(BIN)/image/neoteny ./cmd/neoteny
	cp $(CA_CERTS) $(BIN)/image/etc/ssl/certs/ca-certificates.crt
	docker build -q -t $(IMAGE) -f deploy/docker/Dockerfile.local \
		--build-arg VERSION="$$(git describe --tags --always --dirty 2>/dev/null || echo devel)" \
		--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" $(BIN)/image

.PHONY: test
test: ## what needs only Go
	go test ./...

.PHONY: race
race: ## race detector on everything that has goroutines
	go test -race ./services/... ./internal/... ./cmd/...

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/buf proto-deps ## golangci-lint and buf lint
	golangci-lint run ./...
	cd proto && buf lint && buf format -d --exit-code --path neoteny

.PHONY: fuzz
fuzz: ## every fuzz target for a few seconds (FUZZTIME=10s)
	./.ci/fuzz $(or $(FUZZTIME),10s)

.PHONY: integration
integration: $(BIN)/grpcurl $(BIN)/etcd build ## tests that need other programs
	go test -tags integration -count=1 -timeout 20m ./test/...

.PHONY: performance
performance: ## docs/performance.md, on an otherwise idle machine (needs PyTorch; 10 minutes)
	go build -o $(BIN)/bench-engine ./bench/engine
	$(BIN)/bench-engine --json > $(BIN)/performance.jsonl
	$(BIN)/bench-engine --from $(BIN)/performance.jsonl --markdown > $(BIN)/performance.md
	mv $(BIN)/performance.md docs/performance.md

.PHONY: test-compose
test-compose: $(BIN)/grpcurl $(BIN)/etcd $(BIN)/etcdctl build image ## docker-compose.yml on a real Docker engine
	go test -tags compose -count=1 -v -timeout 40m ./test/compose

.PHONY: test-kube
test-kube: $(BIN)/grpcurl $(BIN)/etcd $(BIN)/etcdctl build image ## deploy/k8s on a real Kubernetes (KUBECONFIG, KUBE_LOAD)
	go test -tags kube -count=1 -v -timeout 60m ./test/kube

.PHONY: test-prometheus
test-prometheus: $(BIN)/grpcurl build ## the dashboard's queries against a real Prometheus
	go test -tags prometheus -count=1 -v -timeout 20m ./test/prometheus

# Exit code 3 means that claims did not hold: a result, not a failure of the pass.
.PHONY: reproduce-quick
reproduce-quick: build ## every tier-1 paper in the quick form; stopped, it goes on where it was
	$(BIN)/neoteny reproduce --tier 1 --quick || test $$? -eq 3

.PHONY: reproduce
reproduce: build ## every tier-1 paper in the default form, recorded beside the recipes (hours)
	$(BIN)/neoteny reproduce --tier 1 --record || test $$? -eq 3

.PHONY: papers
papers: ## docs/papers.md, from recipes/ and the results committed there
	mkdir -p bin && go run ./cmd/neoteny papers --markdown > bin/papers.md && mv bin/papers.md docs/papers.md

.PHONY: proto
proto: $(BIN)/buf $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc proto-deps ## regenerate the API's Go
	cd proto && buf lint && buf generate

.PHONY: docs
docs: ## docs/experiment.md, from spec.proto and the registries of components
	mkdir -p bin && go run ./cmd/neoteny schema --markdown > bin/experiment.md && mv bin/experiment.md docs/experiment.md

# buf/validate/validate.proto, out of the Go module that publishes it.
.PHONY: proto-deps
proto-deps:
	@dir=$$(cd / && GOFLAGS=-mod=mod go mod download -json github.com/bufbuild/protovalidate@$(PROTOVALIDATE) | sed -n 's/.*"Dir": "\(.*\)",*/\1/p') && \
	mkdir -p proto/.deps/buf/validate && \
	cp -f "$$dir/proto/protovalidate/buf/validate/validate.proto" proto/.deps/buf/validate/ && \
	chmod u+w proto/.deps/buf/validate/validate.proto

$(BIN)/buf:
	go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
$(BIN)/protoc-gen-go:
	go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO)
$(BIN)/protoc-gen-go-grpc:
	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC)
$(BIN)/golangci-lint:
	go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
$(BIN)/grpcurl:
	go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)
# The server of the version that is embedded; see test/etcd.
$(BIN)/etcd: test/etcd/go.mod
	cd test/etcd && CGO_ENABLED=0 go build -o $(GOBIN)/etcd go.etcd.io/etcd/server/v3
$(BIN)/etcdctl: test/etcd/go.mod
	cd test/etcd && CGO_ENABLED=0 go build -o $(GOBIN)/etcdctl go.etcd.io/etcd/etcdctl/v3
