# The scripts do the work, and can be run without make.
SHELL := bash
.PHONY: help demo test test-live check bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        install into .venv, capture from a virtual bus, and look at it"
	@echo "make test        run all tests, with the interpreted and with the compiled kernel"
	@echo "make test-live   let a real Linux kernel in a guest use our devices"
	@echo "make check       lint, types, layers, mirrored tests"
	@echo "make bench       measure the speed, beside other programs"
	@echo "make clean       remove all that these commands have made"

demo:
	@scripts/demo

test:
	@scripts/test

test-live:
	@scripts/test-live

check:
	@scripts/check

bench:
	@scripts/bench

clean:
	@echo "==> removing .venv, build and what tools left behind"
	@rm -rf .venv build dist src/*.egg-info .coverage .coverage.* htmlcov bench/.cache
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests scripts bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	@find src -name '*.so' -delete
