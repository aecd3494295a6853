PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv demo bench lint test mutants test-install test-cluster test-ray-up

venv: .venv/installed

.venv/installed: pyproject.toml requirements.txt requirements-test.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

demo: venv
	$(BIN)/python -m study demo

# One table of what everything costs on this machine, and results/bench.json
bench: venv
	$(BIN)/python -m benchmarks

lint: venv
	$(BIN)/ruff check .
	$(BIN)/mypy

# In as many processes as there are cores, up to four; the tests of one file in one of them
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Does a test notice each of the faults listed in tests/mutants/faults.py?
mutants: venv
	$(BIN)/python tests/mutants

# A wheel, in an environment of its own
test-install: venv
	$(BIN)/python -m pytest tests/test_install.py

# Every fault on real processes: Ray nodes, an MLflow server and an S3 endpoint on this machine
test-cluster: venv
	$(BIN)/python -m pytest tests/cluster

# `ray up`, `ray job submit` and `ray down` over ssh, on two machines made out of this one: needs root
test-ray-up: venv
	$(BIN)/python tests/cluster/ray_up.py
