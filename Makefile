# Everything here also works as a plain command: the recipes below are those commands.
PYTHON ?= python3
PORT   ?= 5000
VENV   ?= .venv
BIN    := $(VENV)/bin
PATHS  := nbs tests tools benchmarks setup.py

.DEFAULT_GOAL := help
.PHONY: help python install serve port model test lab check format types sync openapi readme docker docs fix bench bench-board bench-fast coverage \
  constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

# --- install: one stamp for what serving needs, one for what development needs; both follow the files they come from

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "movierec needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' can't make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }

define pip_install
	@echo "Installing into $(VENV): a minute or two the first time. The packages, as they come:"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/install.py $(1)
endef

$(VENV)/.runtime: settings.ini setup.py pyproject.toml constraints.txt | python
	$(call pip_install,serve)
	@touch $@

$(VENV)/.dev: settings.ini setup.py pyproject.toml constraints.txt | python
	$(call pip_install,dev)
	@touch $(VENV)/.runtime $@

install: $(VENV)/.dev ## make the virtual environment, with the development tools

# --- use

serve: port $(VENV)/.runtime ## fetch MovieLens, train if needed, serve on 127.0.0.1 (PORT=5000)
	@$(BIN)/movierec fetch --if-needed
	@$(BIN)/movierec train --if-needed
	@exec $(BIN)/movierec serve --port $(PORT)

port: python
	@$(PYTHON) -c 'import socket, sys; sys.exit(not socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1]))))' '$(PORT)' 2>/dev/null || { \
	  echo "Port $(PORT) is taken, or isn't a port. Choose another: make serve PORT=$(if $(filter 8000,$(PORT)),8001,8000)"; exit 1; }

lab: $(VENV)/.dev ## open the notebooks in JupyterLab
	@exec $(BIN)/jupyter lab nbs

# --- test

model: $(VENV)/.dev
	@$(BIN)/movierec fetch --if-needed
	@$(BIN)/movierec train --if-needed

# Notebooks, and files of tests, run side by side: one thread each, or they wait for each other.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
# Many tests start Python anew, which compiles what it does not find compiled.
test: export PYTHONDONTWRITEBYTECODE =

test: model ## nbdev_test on every notebook, its outputs as stored (KERNELS=2: on another kernel of OpenBLAS), then pytest
	@$(BIN)/python tools/notebooks.py $(if $(filter 2,$(KERNELS)),--other-kernel)
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

coverage: model ## branch coverage of movierec, from notebooks and tests together (nothing compiled)
	@rm -f .coverage .coverage.*
	@NUMBA_DISABLE_JIT=1 COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run tools/chapters.py
	@NUMBA_DISABLE_JIT=1 COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

# --- check: nothing here changes the work tree; `make -k check` goes on after a failure

check: format types sync openapi readme docker docs ## format, types, notebooks clean, exports current, links
	@echo "All checks passed"

format: $(VENV)/.dev
	@$(BIN)/ruff format --quiet --check $(PATHS) || { $(BIN)/ruff format --check $(PATHS); exit 1; }
	@$(BIN)/ruff check $(PATHS)

types: $(VENV)/.dev
	@$(BIN)/mypy

sync: $(VENV)/.dev
	@$(BIN)/python tools/sync.py

openapi: $(VENV)/.dev
	@$(BIN)/python tools/openapi.py --check

docker: $(VENV)/.dev
	@$(BIN)/hadolint Dockerfile

readme: $(VENV)/.dev
	@$(BIN)/python tools/readme.py --check
	@$(BIN)/python tools/diagrams.py --check

docs: $(VENV)/.dev ## check every link of the site; render it into _docs if quarto is installed (SLOW=1: follow README in a fresh clone)
	@$(BIN)/python tools/docs.py
	@$(if $(SLOW),$(BIN)/python -m pytest -q tests/test_readme.py)

fix: $(VENV)/.dev ## format and clean the notebooks, export them, write README.md
	@$(BIN)/ruff format --quiet $(PATHS)
	@$(BIN)/nbdev_clean
	@$(BIN)/nbdev_export
	@$(BIN)/python tools/openapi.py
	@$(BIN)/python tools/diagrams.py
	@$(BIN)/python tools/readme.py

# --- compare with other libraries: under four hours, the board two of them; on one thread, times are seconds of CPU

PEERS_PYTHON ?= python3.11
BENCH  := .bench
PEERS  := .venv-peers/bin/python benchmarks/peers.py
BOARD  := $(BIN)/python benchmarks/leaderboard.py

bench bench-board: export OMP_NUM_THREADS = 1
bench bench-board: export OPENBLAS_NUM_THREADS = 1
bench bench-board: export MKL_NUM_THREADS = 1

bench-board: model .venv-peers/.installed ## tune and measure our models and those of others; writes benchmarks/results.json
	@$(BOARD) prepare $(BENCH)/work
	@$(BOARD) search $(BENCH)/work $(BENCH)/out
	@$(PEERS) search $(BENCH)/work $(BENCH)/out
	@$(PEERS) list > $(BENCH)/out/peers.json
	@$(PEERS) ease $(BENCH)/work > $(BENCH)/out/ease.json
	@$(BOARD) choose $(BENCH)/work $(BENCH)/out
	@$(BOARD) final $(BENCH)/work $(BENCH)/out
	@$(PEERS) final $(BENCH)/work $(BENCH)/out/final --settings $(BENCH)/out/settings.json
	@$(PEERS) final $(BENCH)/work $(BENCH)/out/default --settings $(BENCH)/out/defaults.json
	@$(BOARD) report $(BENCH)/work $(BENCH)/out
	@$(BIN)/python benchmarks/makers.py

bench: bench-board .venv-scale/.installed ## the board, what was tried, scale and serving
	@$(BIN)/python benchmarks/tried.py
	@.venv-scale/bin/python benchmarks/scale.py $(BENCH)/scale
	@$(BIN)/python benchmarks/serving.py $(BENCH)/serving
	@CHANGE_SECONDS=60 $(BIN)/python -m pytest -q -s tests/test_deploy.py

bench-fast: export OMP_NUM_THREADS = 1
bench-fast: export OPENBLAS_NUM_THREADS = 1
bench-fast: export MKL_NUM_THREADS = 1
bench-fast: model .venv-peers/.installed ## lists for people, growth with the catalogue, memory and HTTP, beside others; some hours, needs wrk
	@$(BIN)/python benchmarks/fast.py $(BENCH)/fast

.venv-peers/.installed: benchmarks/peers.txt
	@$(PEERS_PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@touch $@

.venv-scale/.installed: benchmarks/scale.txt settings.ini constraints.txt
	@$(PYTHON) -m venv .venv-scale
	@.venv-scale/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,cluster]' -r benchmarks/scale.txt
	@touch $@

# --- keep house

constraints: $(VENV)/.dev ## resolve the dependencies anew, for Python 3.11 and later, Linux and macOS
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --upgrade --extra dev \
	  --no-annotate --custom-compile-command "make constraints" --output-file constraints.txt setup.py

clean: ## remove the environment and everything built (data, models and logs stay)
	@rm -rf $(VENV) .venv-peers .venv-scale .bench build dist *.egg-info _docs _proc .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find nbs movierec tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
