# Every target is one `python -m …` line (README.md lists them); make adds the environment and nothing else.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

# uv does not read pip's settings: hand on the ones that are set, so that a machine set up for pip works as it is.
space := $(subst ,, )
comma := ,
ifneq ($(strip $(PIP_FIND_LINKS)),)
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif
ifneq ($(strip $(PIP_INDEX_URL)),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifneq ($(strip $(PIP_EXTRA_INDEX_URL)),)
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
export UV_INDEX_STRATEGY ?= unsafe-best-match
endif
ifneq ($(strip $(PIP_CERT)),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifneq ($(strip $(PIP_DEFAULT_TIMEOUT)),)
export UV_HTTP_TIMEOUT ?= $(PIP_DEFAULT_TIMEOUT)
endif

# Threads that wait for each other sleep: beside other work, spinning ones take ten times as long.
export OMP_WAIT_POLICY ?= PASSIVE

# The user's values go through the environment, never through the shell's eyes: spaces, quotes and $ stay what they are.
override IMAGE_0 := $(value IMAGE_0)
override IMAGE_1 := $(value IMAGE_1)
override OUT := $(value OUT)
override UM_PER_PX_0 := $(value UM_PER_PX_0)
override UM_PER_PX_1 := $(value UM_PER_PX_1)
override OVERRIDES := $(value OVERRIDES)
override SPLIT := $(value SPLIT)
override LAB := $(value LAB)
export IMAGE_0 IMAGE_1 OUT UM_PER_PX_0 UM_PER_PX_1 OVERRIDES SPLIT LAB

# A copied or moved folder makes its environment anew: what is installed points to the folder it was installed in.
HERE := $(shell cat $(READY) 2>/dev/null)
ifneq ($(HERE),$(CURDIR))
.PHONY: $(READY)
MOVED := $(if $(HERE),moved)
endif

# uv, or pip where uv cannot be had; TORCH=cpu keeps CUDA's libraries away.
INSTALL = if $(PY) -m uv --version >/dev/null 2>&1; then set -- uv pip install --python $(PY); \
	else set -- pip install --disable-pip-version-check; fi; \
	$(PY) -m "$$@" $(if $(TORCH),--torch-backend '$(TORCH)')

.DEFAULT_GOAL := help
.PHONY: help
help: ## list what there is to do
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' Makefile

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "MicroLoFTR needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) (a minute or two where nothing is cached yet)"
	@rm -f $(READY)
	@{ test -z '$(MOVED)' && $(PY) -m pip --version >/dev/null 2>&1; } || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be installed: pip takes longer." >&2
	@$(INSTALL) -e '.[dev]' -c constraints.txt
	@printf '%s\n' '$(subst ','\'',$(CURDIR))' > $(READY)

# Training starts from the weights of a peer.
PEERS := $(VENV)/.peers
$(PEERS): $(READY)
	@$(INSTALL) -e '.[peers]' -c constraints.txt
	@touch $(PEERS)

.PHONY: match
match: $(READY) ## match two micrographs [IMAGE_0= IMAGE_1= OUT= UM_PER_PX_0= UM_PER_PX_1=]
	@$(PY) -m literate match --out="$$OUT" --um-per-px-0="$$UM_PER_PX_0" --um-per-px-1="$$UM_PER_PX_1" \
	  -- "$$IMAGE_0" "$$IMAGE_1"

.PHONY: test
test: $(READY) ## the tests, less the long ones [JOBS=2]
	@$(PY) -m pytest -n $(JOBS)

.PHONY: test-long
test-long: $(READY) ## all tests; the report goes to results/test_long.json
	@$(PY) -m pytest -n $(JOBS) -m "" --record results/test_long.json

.PHONY: lab
lab: $(READY) ## open the notebooks in JupyterLab [LAB="--no-browser …", its options]
	@set -f; $(PY) -m jupyterlab notebooks $$LAB

.PHONY: train
train: $(PEERS) ## train a model [OVERRIDES="KEY=VALUE …"]
	@set -f; $(PY) -m microloftr train $$OVERRIDES

.PHONY: evaluate
evaluate: $(PEERS) ## predict and score: the four levels, and real pairs where MICROLOFTR_PAIRS names them [SPLIT=validation JOBS=2]
	@$(PY) -m microloftr evaluate --split "$${SPLIT:-validation}" --jobs $(JOBS)

.PHONY: bench
bench: $(PEERS) ## time and memory beside the peers, in one run
	@$(PY) -m microloftr bench

.PHONY: report
report: $(READY) ## tables and figures from results/
	@$(PY) -m microloftr report

.PHONY: notebooks
notebooks: $(READY) ## build and run all notebooks, draw the vault's figures
	@$(PY) -m literate build
	@$(PY) -m microloftr figures
	@$(PY) -m microloftr sheet

.PHONY: vault
vault: $(READY) ## fill the numbers of vault and README in, then check links and names
	@$(PY) -m literate vault

.PHONY: constraints
constraints: $(READY) ## remake constraints.txt from pyproject.toml; pins that fit stay [UPGRADE=1: take the newest]
	@cp constraints.txt $(VENV)/frozen.txt
	@$(PY) -m uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --all-extras \
	  $(if $(UPGRADE),--upgrade) --no-header --no-annotate --output-file $(VENV)/frozen.txt pyproject.toml
	@{ echo "# Every version that pyproject.toml resolves to, on Python 3.11 and newer; remade by: make constraints"; \
	  sed -E -e '/^#/d' -e '/^(nvidia-|cuda-|triton==)/d' -e '/^torch==[^ ]*\+/d' -e 's/^(torch==[^ ;]*).*/\1/' \
	  $(VENV)/frozen.txt; } > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt
