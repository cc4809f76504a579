# make run            one whole cycle: boot, register, crash, dump, save, release, register again; in a second.
#                     The first time it installs what that needs, in a quarter of a minute
#                     MACHINE=qemu: with a real Linux; the first time it builds a kernel, ten minutes
# make test           every test, two at a time, about 20 minutes; the first time 20 more, for a kernel and a Debian
# make compare        the model of Linux against real Linux, over more than 160 configurations; builds five more kernels
# make test-kernels   more kernels, both page sizes, and a newer QEMU; the first time it builds ten kernels more
# make test-systems   systems with disks, boot loaders and services of their own, crashed in every way
# make test-document  the kernel's own document, each of its statements on real Linux: docs/kernel-document.md
# make test-report    a crash report in a browser: installs playwright, and needs Debian's chromium
# make test-campaign  a campaign on a Dask cluster of processes, whose workers are killed, or lack something
# make docs           these documents as a site, dist/docs/index.html, every link checked; installs sphinx
# make dist           sdist and wheel in dist, with man pages and completions, checked by twine
# make deb            dist/fadump_VERSION_all.deb, for any architecture; as root what its build needs is installed
# make test-install   that package in a minimal Debian of each suite, as root: what it needs, the dump tools, their tests;
#                     and the jobs of docs/ci.md in a container whose root is nobody: builds a kernel, ten minutes
# make mutants        one line of src/fadump changed at a time, 200 times: does a test notice? SEED=2: another 200

MACHINE ?= embedded
SEED ?= 1
VENV ?= .venv
PYTHON ?= python3
INSTALL = $(VENV)/bin/pip install --quiet --disable-pip-version-check
# A whole run leaves gigabytes of dumps otherwise, three times over. Not in pyproject.toml: pytest 7.2 doesn't know it.
PYTEST = $(VENV)/bin/pytest -o tmp_path_retention_policy=failed -o tmp_path_retention_count=1

.PHONY: run test compare test-kernels test-systems test-document test-report test-campaign docs dist deb test-install mutants clean

run: $(VENV)/installed
	$(VENV)/bin/fadump run --machine $(MACHINE)

test: $(VENV)/ready
	$(VENV)/bin/fadump kernel build
	$(VENV)/bin/fadump image build
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder

compare: $(VENV)/ready
	$(VENV)/bin/fadump compare

test-kernels: $(VENV)/ready
	$(PYTEST) tests/real_linux/more_kernels

test-systems: $(VENV)/ready
	$(VENV)/bin/fadump kernel build
	$(VENV)/bin/fadump image build
	$(PYTEST) tests/real_linux/whole_systems

test-document: $(VENV)/ready
	$(VENV)/bin/fadump kernel build
	$(VENV)/bin/fadump image build
	$(PYTEST) $$($(VENV)/bin/python -m tests.test_kernel_document)

test-report: $(VENV)/ready
	$(INSTALL) --editable '.[browser]'
	$(PYTEST) tests/report/browser

test-campaign: $(VENV)/ready
	$(PYTEST) tests/campaign/cluster

docs: $(VENV)/ready
	$(INSTALL) --editable '.[docs]'
	$(VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going docs dist/docs

dist: $(VENV)/ready
	rm -rf dist/manual dist/fadump-*.tar.gz dist/fadump-*.whl
	PYTHONPATH=tools $(VENV)/bin/python -m manual dist/manual
	cp debian/fadump-qemu-system-ppc64.1 dist/manual/man1
	$(VENV)/bin/python -m build
	$(VENV)/bin/twine check --strict dist/fadump-*.tar.gz dist/fadump-*.whl

deb:
	sh tools/build-deb

test-install: $(VENV)/ready
	$(PYTEST) --no-tools tests/installed

mutants: $(VENV)/ready
	PYTHONPATH=tools $(VENV)/bin/python -m mutants --seed $(SEED)

# What a user needs. Python compiles what is used, when it is used: all of it would take longer than the first run.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh tools/install-venv
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --no-compile --editable '.[fuse,lines,qemu]'
	touch $@

# And what developing and testing needs.
$(VENV)/ready: $(VENV)/installed
	$(INSTALL) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) fadump-run fadump-compare
