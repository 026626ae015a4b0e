# `make search` and `make test` need nothing but python3 and make: they set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With bytecode kept: pytest rewrites every assertion of 100 files, which takes each process ten seconds.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
TRIALS ?= 50
SEEDS ?= 5
NAMED = $(if $(STUDY),--study-name '$(subst ','\'',$(STUDY))')
# PIP_ARGS: what pip is told besides, when .venv is made. On Linux, PyTorch comes with CUDA, unless pip is told of the
# index of builds without it; on macOS and Windows it comes without.
PIP_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help search verify dashboard test check lint docs format setup clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

search: $(VENV)/installed  ## set up, then search (TRIALS=50 STUDY=name), or finish the search that was begun
	$(BIN)/python cli.py search --trials $(TRIALS) $(NAMED)

verify: $(VENV)/installed  ## prove the winner over fresh seeds (SEEDS=5 STUDY=name)
	$(BIN)/python cli.py verify-best --seeds $(SEEDS) $(NAMED)

dashboard: $(VENV)/installed  ## look at the search in a browser
	@[ -n "$$OPTUNA_STORAGE" ] || [ -s study.db ] || { echo "There is no search here yet: make search"; exit 1; }
	$(BIN)/optuna-dashboard "$${OPTUNA_STORAGE:-sqlite:///study.db}" --artifact-dir results/artifacts

test: $(VENV)/installed  ## set up, then run the tests
	$(PYTEST)

check: $(VENV)/installed  ## all tests, the slow ones as well, ruff, strict mypy, the import contracts, and the pages
	$(PYTEST) -m 'slow or not slow'
	@$(MAKE) --no-print-directory lint

lint: $(VENV)/installed  ## ruff, strict mypy, the import contracts, and the pages: all of `make check` but the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m tools.docs --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/installed  ## build the pages as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html."

format: $(VENV)/installed  ## format the code, and generate the README's parts anew
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python -m tools.docs

setup: $(VENV)/installed  ## set up .venv only (PIP_ARGS=... for pip; if .venv is there, make clean first)

# `installed` is there after a whole set-up only.
$(VENV)/installed: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -c "$$SETUP" $(VENV) --editable '.[dev]' $(PIP_ARGS)

clean:  ## remove .venv and caches; studies and results stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# `pip install`, and what it does at the moment: a line that changes on a terminal, elsewhere a line every half minute.
# Its warnings and errors pass as they are. `unfinished` is there while packages are put in place: one that was cut off
# then may look whole to pip, so the next set-up starts from an empty folder.
define SETUP
import fcntl, os, pathlib, shutil, signal, subprocess, sys, threading, time

venv = pathlib.Path(sys.argv[1])
installed, unfinished, python = venv / 'installed', venv / 'unfinished', venv / 'bin' / 'python'
live = sys.stdout.isatty() and os.environ.get('TERM') != 'dumb'
wipe = '\r\033[K' if live else ''
begun, doing, interrupts = time.monotonic(), 'Starting pip', []

def follow():
    global doing
    for line in pip.stdout:
        step = line.strip().split(' (from ')[0]
        if step.startswith('Installing collected packages'):
            unfinished.touch()
            doing = 'Installing %d packages' % (step.count(',') + 1)
        elif step.startswith(('Installing ', 'Preparing ', 'Collecting ', 'Downloading ', 'Using ', 'Building ')):
            doing = step

def complain():
    for line in pip.stderr:
        sys.stderr.write((wipe if sys.stderr.isatty() else '') + line)
        sys.stderr.flush()

def tell(text):
    line = '  %d:%02d  %s' % (*divmod(int(time.monotonic() - begun), 60), text)
    print(wipe + line[:shutil.get_terminal_size().columns - 1], end='' if live else '\n', flush=True)

def stop_if(failed):
    if failed or interrupts:
        print(wipe + 'The set-up', 'was interrupted.' if interrupts else 'failed: see above.',
              'The same command tries again.', file=sys.stderr)
        sys.exit(130 if interrupts else 1)

try:
    lock = open('setup.py', 'a')  # as long as this process lives, no other make sets up here
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print('Another make sets up %s here: waiting for it.' % venv, flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.flock(lock, fcntl.LOCK_EX)
except OSError:
    pass  # not every file system has locks
changed = max(os.path.getmtime(name) for name in ('pyproject.toml', 'setup.py'))
if installed.exists() and installed.stat().st_mtime >= changed:
    sys.exit()  # another has done it meanwhile
if installed.exists():
    print('pyproject.toml or setup.py has changed: bringing %s up to date.' % venv, flush=True)
else:
    print('Setting up %s in this folder: PyTorch, and what else is needed. This takes some minutes.' % venv)
    print('On Linux it takes up to 7 GB, as PyTorch comes with CUDA. README.md: how to do without.', flush=True)
installed.unlink(missing_ok=True)
if unfinished.exists():
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != unfinished:
            path.unlink()
    unfinished.unlink()  # the last: who is interrupted here begins anew
pip = None
signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))  # children get it as well, and end by themselves
signal.signal(signal.SIGTERM, lambda *_: (interrupts.append(1), pip and pip.terminate()))
stop_if(subprocess.call([sys.executable, '-m', 'venv', venv]))
pip = subprocess.Popen([python, '-m', 'pip', 'install', *sys.argv[2:]], text=True, errors='replace',
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
readers = [threading.Thread(target=target) for target in (follow, complain)]
for reader in readers:
    reader.start()
while pip.poll() is None:
    try:
        pip.wait(1 if live else 30)
    except subprocess.TimeoutExpired:
        tell(doing)
for reader in readers:
    reader.join()
if not pip.returncode:
    unfinished.unlink(missing_ok=True)
stop_if(pip.returncode)
tell('Set up.')
print(end='\n' if live else '', flush=True)
subprocess.call([python, '-c', 'from search.net.compiled.preparing import prepare; prepare(print)'])
stop_if(False)  # a search prepares what is missing
installed.touch()
endef
export SETUP
