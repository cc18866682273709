# Debian packages without touching the system's apt state: lists, cache and status live in the work folder, addresses
# and keys come from the machine's own sources. Sourced by scripts/setup.

# private_apt <state> <apt tool> <arguments…>
private_apt() {
  local state=$work/apt-$1
  shift
  APT_CONFIG=$state/apt.conf "$@"
}

# open_apt <state> [suite]: prepares a private apt for that suite (default: the system's own) and reads its lists, once.
open_apt() {
  local state=$work/apt-$1 architecture
  [ ! -d "$state" ] || return 0
  architecture=$(dpkg --print-architecture)
  mkdir -p "$state"/{sources,lists/partial,cache/archives/partial}
  : >"$state/status"
  node "$parts/apt-sources.mjs" "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" "${2:-}" "${SETUP_MIRROR:-}" \
    >"$state/sources/debian.sources" ||
    fail "the machine's apt sources name no Debian mirror" "set SETUP_MIRROR to the address of one and run scripts/setup again"
  {
    # Proxies, certificates and the like stay as the machine has them; its hooks do not run.
    apt-config dump | grep -E '^Acquire::' | grep -vE '^Acquire::(IndexTargets|Languages)' || true
    cat <<CONFIG
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Dir::State "$state";
Dir::State::lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
Dir::Log "$state";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$state/sources";
CONFIG
  } >"$state/apt.conf"
  say "reading the package lists of $(sed -n 's/^Suites: //p' "$state/sources/debian.sources")"
  logged "apt-get update" "see the messages above; another suite can be chosen with SETUP_SUITE" \
    private_apt "$1" apt-get -q -o APT::Update::Error-Mode=any update
}

# closure <state> <package…>: the names of the packages and of all they depend on, as if nothing were installed.
closure() {
  local state=$1
  shift
  private_apt "$state" apt-get -qq --print-uris install "$@" 2>>"$log" 9<&- | awk '{ sub(/_.*/, "", $2); print $2 }' | sort -u
}

# download <state> <folder> <package…>
download() {
  local state=$1 folder=$2
  shift 2
  mkdir -p "$folder"
  say "downloading $# packages: $(printf '%s ' "$@" | cut -c 1-100)"
  (cd "$folder" && logged "downloading packages" "see the messages above, then run scripts/setup again" \
    private_apt "$state" apt-get -q download "$@")
}

# unpack <folder of .deb files> <target folder>
unpack() {
  mkdir -p "$2"
  local deb
  for deb in "$1"/*.deb; do
    logged "unpacking ${deb##*/}" "check the free disk space, then run scripts/setup again" dpkg-deb -x "$deb" "$2"
  done
}

qemu_program() { echo "qemu-system-$(uname -m)"; }

# What the system itself provides, as <program>:<Debian package>.
system_programs() {
  echo "$(qemu_program):$([ "$(uname -m)" = x86_64 ] && echo qemu-system-x86 || echo qemu-system-arm)"
  printf '%s\n' mkfs.ext4:e2fsprogs zstd:zstd xz:xz-utils
  # Layers decompress two to four times as fast with it; elsewhere it is used when it is there.
  ! is_debian || echo igzip:isal
}

missing_system_programs() {
  local entry
  for entry in $(system_programs); do
    PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || echo "${entry%%:*}"
  done
}

# Installs QEMU, e2fsprogs and the decompressors with the system's apt, only when missing.
system_packages() {
  local missing packages=() entry
  missing=$(missing_system_programs)
  [ -n "$missing" ] || return 0
  for entry in $(system_programs); do
    ! grep -qxF "${entry%%:*}" <<<"$missing" || packages+=("${entry#*:}")
  done
  [ "$(id -u)" = 0 ] ||
    fail "missing: ${missing//$'\n'/, }; installing that needs root" "run as root: apt-get install --no-install-recommends ${packages[*]}"
  say "installing ${packages[*]} (a few minutes)"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "${packages[@]}")
  # Lists that are missing or stale are the usual reason for the first try to fail.
  if ! "${install[@]}" >>"$log" 2>&1 9<&-; then
    logged "apt-get update" "mend the apt sources of this machine, then run scripts/setup again" apt-get -q update
    logged "apt-get install ${packages[*]}" "see the messages above; install these packages by hand if need be" "${install[@]}"
  fi
  missing=$(missing_system_programs)
  [ -z "$missing" ] || fail "still missing after installing ${packages[*]}: ${missing//$'\n'/, }" "see .tools/setup.log, and install them by hand"
}
