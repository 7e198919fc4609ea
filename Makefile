# Every target sets up what it needs, on a fresh Debian machine too. Start with `make up`.

PYTHON ?= python3
DATA   ?= $(CURDIR)/data
PORT   ?= 8776
NODES  ?= 3
MINUTES ?= 2
RUNS   ?= 500

BIN := .venv/bin
APT := DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600
# An installation is good until what it was made from changes.
WANTED = $$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
# Folders of tests that exist: a checkout without one of them can still be checked.
QUICK = $(wildcard tests/unit tests/tidy tests/store tests/sim)

.DEFAULT_GOAL := help
.PHONY: help install install-test venv wheel up check test proof bench sim model chaos lint clean

help:
	@echo 'make up       run a cluster here: DATA=$(DATA) PORT=$(PORT) NODES=$(NODES)'
	@echo 'make check    the inner loop: lint, types, layers, the quick tests'
	@echo 'make test     every suite, each within its share of time'
	@echo 'make proof    the long runs; stop and start it as you like'
	@echo 'make bench    measure the API'
	@echo 'make sim      simulate clusters: RUNS=$(RUNS) seeds or MINUTES=…, from SEED=… on'
	@echo 'make model    check the protocol on paper with spin: it holds, and falls without each of its rules'
	@echo 'make chaos    real processes, real faults: MINUTES=$(MINUTES), and SEED, FENCE=kill|external|storage,'
	@echo '              DATABASE=sqlite|postgresql|mariadb|galera, DOORBELL=datagram|postgresql|rabbitmq if you like'
	@echo 'make wheel    build dist/breezeblock-VERSION-py3-none-any.whl, for machines without this checkout'
	@echo 'make install  only set up .venv      make lint   only the linters      make clean   remove what was built'

# Debian ships python3 without ensurepip: the first attempt may leave an environment that has no pip.
venv:
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    rm -rf .venv; \
	    if ! $(PYTHON) -m venv .venv; then \
	        rm -rf .venv; \
	        echo 'installing python3-venv'; \
	        $(APT) update -qq && $(APT) install -y -qq python3 python3-venv && $(PYTHON) -m venv .venv; \
	    fi; \
	fi
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Breezeblock needs Python 3.11 or later")'

# An environment made for the tests serves the runtime as well.
install: venv
	@wanted="$(WANTED)"; \
	if ! grep -qsx "$$wanted" .venv/.installed-runtime .venv/.installed-test; then \
	    echo 'installing breezeblock into .venv'; \
	    $(BIN)/python -m pip install -q -c constraints.txt -e . && echo "$$wanted" > .venv/.installed-runtime; \
	fi

install-test: venv
	@wanted="$(WANTED)"; \
	if ! grep -qsx "$$wanted" .venv/.installed-test; then \
	    echo 'installing breezeblock and its test tools into .venv'; \
	    $(BIN)/python -m pip install -q -c constraints.txt -e '.[test]' && echo "$$wanted" > .venv/.installed-test; \
	fi
	@$(BIN)/python tests/servers/packages.py

# Setuptools would pack what an earlier build has left, also modules that are no more.
wheel: venv
	@rm -rf build dist src/*.egg-info/SOURCES.txt
	@$(BIN)/python -m pip wheel -q --no-deps -w dist . && rm -rf build && ls dist

up: install
	@exec $(BIN)/breezeblock up --data '$(DATA)' --port '$(PORT)' --nodes '$(NODES)'

lint: install-test
	@$(BIN)/python scripts/run_tests.py --only lint

check: lint
	@BREEZEBLOCK_QUICK=1 $(BIN)/python -m pytest $(QUICK) -x -q -m 'not proof' --ignore=tests/sim/test_teeth.py

test: install-test
	@exec $(BIN)/python scripts/run_tests.py

proof: install-test
	@exec $(BIN)/python scripts/run_tests.py --proof

sim: install-test
	@exec $(BIN)/breezeblock sim $(if $(findstring command,$(origin MINUTES)),--minutes '$(MINUTES)',--runs '$(RUNS)') $(if $(SEED),--seed '$(SEED)')

model: install-test
	@exec $(BIN)/python scripts/check_models.py

# It mounts a small filesystem for the volumes and compiles a clock that jumps: as root, and with cc. Without, it does without.
chaos: install
	@exec $(BIN)/breezeblock chaos --minutes '$(MINUTES)' --out '$(CURDIR)/.reports/chaos' \
	    $(if $(SEED),--seed '$(SEED)') $(if $(FENCE),--fence '$(FENCE)') \
	    $(if $(DATABASE),--database '$(DATABASE)') $(if $(DOORBELL),--doorbell '$(DOORBELL)')

bench: install-test
	@exec $(BIN)/python benchmarks/api.py

# The data of `make up` is not ours to delete.
clean:
	rm -rf .venv .reports .proof build dist src/*.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache \
	    .import_linter_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
