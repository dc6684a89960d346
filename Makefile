# Two commands: `make run` shows Lockgate at work, `make test` proves it. The plain lines under each stand in README.md.

PYTHON ?= python3
# Written even where the environment forbids it: else each of the thousand processes of the tests compiles everything anew.
export PYTHONDONTWRITEBYTECODE =
VENV ?= .venv
BIN = $(VENV)/bin
SYSTEM_PACKAGES = postfix swaks libnet-ssleay-perl openssl strace iproute2 gcc libc6-dev dovecot-imapd dovecot-lmtpd mutt pflogsumm opendkim unbound pebble

.PHONY: run demo test check proof bench system-packages clean

run: $(VENV)/demo-installed
	$(BIN)/lockgate demo

demo: $(VENV)/demo-installed
	$(BIN)/lockgate demo --once

# Most of what takes long waits for services: more at once than two cores have, in the order of tests/conftest.py.
test: $(VENV)/test-installed system-packages
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -s tests/proof/test_kill.py
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --ignore tests/proof/test_kill.py

# The long proofs: an hour and more. Each also runs, shorter, in `make test`. One that cannot be run here (power cuts
# need root and loop devices) is a failure.
proof: $(VENV)/test-installed system-packages
	LOCKGATE_KILLS=100 LOCKGATE_ACKNOWLEDGED=20000 LOCKGATE_KILL_POINTS=50 LOCKGATE_POWER_CUTS=50 \
	LOCKGATE_TRAFFIC_SECONDS=3600 LOCKGATE_SYNCED_MESSAGES=2000 LOCKGATE_MESSAGE_LIFE=60 LOCKGATE_SKIPS_FAIL=1 \
	LOCKGATE_RULE_CASES=10000 \
	$(BIN)/python -m pytest -s --timeout 14400 tests/proof tests/decision/test_rules_differential.py
	LOCKGATE_EXAMPLES=2000 $(BIN)/python -m pytest -n 2 --timeout 3600 tests/mail tests/wire tests/policy tests/decision \
	tests/flow tests/storage tests/probes tests/couriers tests/app

# Beside Postfix, and the growth laws; docs/performance.md has the method.
bench: $(VENV)/test-installed system-packages
	$(BIN)/python bench/run.py
	$(BIN)/python bench/judge.py
	$(BIN)/python bench/sign.py
	$(BIN)/python bench/auth.py
	$(BIN)/python bench/expand.py
	$(BIN)/python bench/patterns.py
	$(BIN)/python bench/replay.py
	$(BIN)/python bench/lists.py
	$(BIN)/python bench/growth.py
	$(BIN)/python bench/idle.py
	$(BIN)/python bench/handshake.py

# What needs no installation beyond the environment: quick, for use while writing.
check: $(VENV)/test-installed
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

# Debian keeps venv in a package of its own.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq || true; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv \
	      && $(PYTHON) -m venv $(VENV); \
	  else \
	    echo "Install the venv module of Python first (Debian: apt-get install python3-venv)." >&2; exit 1; \
	  fi; }

$(VENV)/demo-installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/test-installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/demo-installed

# Other mail software that the tests talk to. Installed by name where that is allowed (root on a Debian-like system);
# elsewhere tests that need a missing program say so and are skipped.
system-packages:
	@missing=; for package in $(SYSTEM_PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq || true; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing \
	      || echo "These programs could not be installed, tests that need them are skipped:$$missing"; \
	  else \
	    echo "These programs are missing, tests that need them are skipped:$$missing"; \
	  fi; \
	fi

clean:
	rm -rf $(VENV) run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
