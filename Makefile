# Every target sets itself up: Python 3.11 or later and make are enough.
PYTHON ?= python3
WORKDIR ?= runs/quickstart
RUN = .venv/bin
# Python compiles what is imported when it is imported; of all that is installed
# that is the smaller part.
INSTALL = pip install -q --disable-pip-version-check --no-compile
PEERS = .venv-peers/bin
GPU = .venv-gpu/bin
CRASHES ?= 20
PYTEST = $(RUN)/python -m pytest -n 2 --dist worksteal

.PHONY: quickstart lint check test test-all crash-test slurm-test bench \
  bench-peers gpu-check test-oldest docs images calibration site digests clean

quickstart: .setup/user  ## train, retrofit, evaluate, table and figure
	$(RUN)/posexp run experiments/quickstart.py --workdir=$(WORKDIR)

lint: .setup/dev  ## style, types, and what may import what
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

check: lint  ## lint, unit tests, and for 45 s what a change touches
	$(PYTEST) tests/unit
	POSEXP_SECONDS=45 $(RUN)/python -m tests.changed -n 2

test: lint  ## lint, doctests, tests
	$(PYTEST) tests/unit
	$(PYTEST) tests/jax posexp
	$(PYTEST) -n 4 tests/e2e
	POSEXP_OPTIMISED=1 $(PYTEST) --dist loadfile -m 'optimised and not slow' tests/jax

# Besides: all constants of a scheme, in programs as users have them.
test-all: test crash-test test-oldest  ## all that needs no other machine
	POSEXP_OPTIMISED=1 $(PYTEST) -m ''

crash-test: .setup/dev  ## a grid killed at random moments, compared with one left alone
	$(RUN)/python -m tests.crash --kills=$(CRASHES)
	$(RUN)/python -m tests.crash --kills=$(CRASHES) --workers=2

slurm-test: .setup/dev  ## a grid on a real SLURM of this machine; needs root and slurm-wlm
	$(RUN)/python -m tests.slurm_cluster

bench: .setup/user  ## tokens/s of a training step of each scheme
	$(RUN)/posexp bench

bench-peers: .setup/peers  ## posexp against x-transformers, alternating
	$(PEERS)/python experiments/bench_peers.py

gpu-check: .setup/gpu  ## laws and speed on a GPU, in 8 minutes; again goes on
	$(GPU)/python experiments/bench_gpu.py

# The tests under the oldest dependencies that setup.cfg admits.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/$(INSTALL) -c tests/oldest.txt -e '.[dev]'
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal

.setup/venv: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "posexp needs Python 3.11 or later, this is " + sys.version.split()[0] \
	  + ": run make PYTHON=/path/to/python3.11")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	mkdir -p .setup && touch $@

.setup/user: .setup/venv
	$(RUN)/$(INSTALL) -e .
	touch $@

.setup/dev: .setup/venv
	$(RUN)/$(INSTALL) -e '.[dev]'
	touch $@ .setup/user

.setup/peers: .setup/venv
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	$(PEERS)/$(INSTALL) -e '.[peers]'
	touch $@

.setup/gpu: .setup/venv
	test -x $(GPU)/python || $(PYTHON) -m venv .venv-gpu
	$(GPU)/$(INSTALL) -e . 'jax[cuda12]'
	touch $@

docs: .setup/dev  ## pages and lists of the documentation, from the docstrings
	$(RUN)/python -m docs.make

images: quickstart  ## docs/images, from the quickstart's figure
	$(RUN)/python docs/images.py $(WORKDIR)/quickstart.png \
	  docs/images/quickstart.png

calibration: .setup/dev  ## tables and figure of docs/explanation/calibration.md
	$(RUN)/python experiments/calibration.py --write
	$(RUN)/python docs/images.py docs/images/calibration.png \
	  docs/images/calibration.png

site: .setup/dev  ## the documentation as pages, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN)/python -m mkdocs build --strict

digests: .setup/user  ## what posexp/data/digests.json publishes
	$(RUN)/python -m posexp.data.published

clean:  ## everything that was set up or computed here
	rm -rf .venv .venv-gpu .venv-peers .venv-oldest .setup runs site build *.egg-info
