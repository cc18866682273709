# The programs of tests and demo: .tools/programs/bin, reached as .tools/bin. Sourced by scripts/setup.

least_erofs=1.9.3
least_containerd=2.1

# A program with its own libc and libraries: started through that libc's loader, found from the wrapper's own place so
# that a moved checkout still works.
# wrap <folder> <program> [folder of the program, default: usr/bin]
wrap() {
  local folder=$1 program=$2 place=${3:-usr/bin} loader libraries
  loader=$(cd "$folder" && find root/usr -name 'ld-linux-*.so.*' -print -quit)
  libraries=$(cd "$folder" && dirname "$(find root/usr -name libc.so.6 -print -quit)")
  [ -n "$loader" ] && [ -n "$libraries" ] || fail "the packages of $suite have no libc where it is expected" "choose another suite with SETUP_SUITE"
  cat >"$folder/bin/$program" <<WRAPPER
#!/bin/sh
self=\$0
[ ! -L "\$self" ] || self=\$(readlink -f "\$self")
here=\${self%/*}/..
exec "\$here/$loader" --inhibit-cache --library-path "\$here/$libraries" --argv0 $program "\$here/root/$place/$program" "\$@"
WRAPPER
  chmod 755 "$folder/bin/$program"
}

# The path of a program on PATH that is new enough, whatever installed it.
# new_enough <program> <least version> <argument that prints the version>
new_enough() {
  local path
  path=$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1") || return 1
  at_least "$(version_of "$path" "$3")" "$2" && echo "$path"
}

find_erofs() { new_enough mkfs.erofs $least_erofs --version; }

find_containerd() { command -v ctr >/dev/null && new_enough containerd $least_containerd --version; }

find_registry() { command -v registry || command -v docker-registry; }

# The guest's initramfs has no libraries, so only a static busybox serves.
find_busybox() {
  local path
  path=$(command -v busybox) && ! ldd "$path" >/dev/null 2>&1 && echo "$path"
}

# Shares what is live with a guest. Of the two that exist, the newer one; it is not meant to be on PATH.
find_virtiofsd() {
  local path
  for path in "$(command -v virtiofsd)" /usr/libexec/virtiofsd /usr/lib/virtiofsd; do
    [ ! -x "$path" ] || { echo "$path"; return 0; }
  done
  return 1
}

# Where apt is not Debian's, everything must be on PATH: names all that is missing at once.
check_path() {
  local absent=() program
  for program in $(missing_system_programs); do absent+=("$program"); done
  find_erofs >/dev/null || absent+=("mkfs.erofs, fsck.erofs and dump.erofs (erofs-utils $least_erofs or later)")
  find_containerd >/dev/null || absent+=("containerd and ctr (containerd $least_containerd or later)")
  find_busybox >/dev/null || absent+=("busybox (linked statically)")
  find_virtiofsd >/dev/null || absent+=("virtiofsd (or in /usr/libexec; 1.10 or later)")
  find_registry >/dev/null || absent+=("registry or docker-registry (the CNCF distribution registry, 2.8 or later)")
  [ -n "${SETUP_KERNEL:-}" ] || running_kernel >/dev/null ||
    absent+=("a readable kernel image ($least_kernel or later; SETUP_KERNEL names it, SETUP_MODULES its modules)")
  [ ${#absent[@]} = 0 ] && return 0
  say "missing on PATH:"
  printf 'setup:   %s\n' "${absent[@]}" >&2
  fail "this is not Debian, so scripts/setup does not fetch them" "install them in these versions (QEMU 7.2 or later), then run scripts/setup again"
}

# What the machine has in a version that serves is linked; the rest comes from Debian.
make_programs() {
  local folder=$1 newer=() path program
  mkdir -p "$folder/bin"
  if path=$(find_erofs); then
    for program in mkfs.erofs fsck.erofs dump.erofs; do ln -s "$(dirname "$path")/$program" "$folder/bin/$program"; done
  else
    newer+=(erofs-utils)
  fi
  if path=$(find_containerd); then
    ln -s "$path" "$folder/bin/containerd"
    ln -s "$(command -v ctr)" "$folder/bin/ctr"
  else
    newer+=(containerd)
  fi
  if path=$(find_busybox); then ln -s "$path" "$folder/bin/busybox"; else newer+=(busybox-static); fi
  if path=$(find_virtiofsd); then ln -s "$path" "$folder/bin/virtiofsd"; else newer+=(virtiofsd); fi
  if path=$(find_registry); then ln -s "$path" "$folder/bin/registry"; else fetch_registry "$folder"; fi
  [ ${#newer[@]} = 0 ] || fetch_programs "$folder" "${newer[@]}"
}

# The registry of the running system's own release: a service elsewhere, here only a program.
fetch_registry() {
  open_apt own
  download own "$work/registry-debs" docker-registry
  unpack "$work/registry-debs" "$1/registry"
  ln -s ../registry/usr/bin/docker-registry "$1/bin/registry"
  rm -rf "$work/registry-debs" "$1/registry/usr/share"
}

# fetch_programs <folder> <package of the newer suite…>
fetch_programs() {
  local folder=$1 package names=()
  shift
  open_apt newer "$suite"
  for package in "$@"; do
    # containerd and busybox run as they are; the others need their libraries with them.
    case $package in
      erofs-utils | virtiofsd) mapfile -t -O ${#names[@]} names < <(closure newer "$package") ;;
      *) names+=("$package") ;;
    esac
  done
  mapfile -t names < <(printf '%s\n' "${names[@]}" | sort -u)
  download newer "$work/programs-debs" "${names[@]}"
  unpack "$work/programs-debs" "$folder/root"
  rm -rf "$work/programs-debs" "$folder/root/usr/share"
  place_fetched "$folder" "$@"
}

# place_fetched <folder> <package…>: puts the programs into bin/ and sees them run in the version that is needed.
place_fetched() {
  local folder=$1 package program found
  shift
  for package in "$@"; do
    case $package in
      erofs-utils) for program in mkfs.erofs fsck.erofs dump.erofs; do wrap "$folder" $program; done ;;
      containerd) for program in containerd ctr; do ln -s "../root/usr/bin/$program" "$folder/bin/$program"; done ;;
      busybox-static) ln -s ../root/usr/bin/busybox "$folder/bin/busybox" ;;
      virtiofsd) wrap "$folder" virtiofsd usr/libexec ;;
    esac
  done
  found=$(version_of "$folder/bin/mkfs.erofs" --version)
  at_least "$found" $least_erofs ||
    fail "$suite has erofs-utils ${found:-that does not run here}, needed is $least_erofs or later" "choose a newer suite with SETUP_SUITE"
  [ -n "$(version_of "$folder/bin/virtiofsd" --version)" ] ||
    fail "the virtiofsd of $suite does not run here" "install the one of this system (Debian 13 and later, Fedora: virtiofsd), or choose another suite with SETUP_SUITE"
  found=$(version_of "$folder/bin/containerd" --version)
  at_least "$found" $least_containerd ||
    fail "$suite has containerd ${found:-that does not run here}, needed is $least_containerd or later" "choose another suite with SETUP_SUITE"
}

# The Debian packages, of this system's own release, from which the demo image is made, with all they depend on.
make_debs() {
  is_debian || { say "no Debian packages for the demo image here: give the demo an image with -- --image"; return 0; }
  local names
  open_apt own
  mapfile -t names < <(sed 's/#.*//' scripts/image-packages | xargs -n 1)
  mapfile -t names < <(closure own "${names[@]}")
  [ ${#names[@]} -gt 0 ] || { tail -n 15 "$log" >&2; fail "apt cannot resolve scripts/image-packages" "see the messages above for the package that does not exist in this release"; }
  download own "$1" "${names[@]}"
}

write_manifest() {
  local program entries=()
  for program in mkfs.erofs containerd ctr; do entries+=("\"$program\": \"$(version_of "$tools/bin/$program" --version)\""); done
  entries+=("\"registry\": \"$(version_of "$tools/bin/registry" --version)\"")
  entries+=("\"virtiofsd\": \"$(version_of "$tools/bin/virtiofsd" --version)\"")
  entries+=("\"busybox\": \"$(version_of "$tools/bin/busybox")\"")
  entries+=("\"$(qemu_program)\": \"$(version_of "$(qemu_program)" --version)\"")
  local joined
  joined=$(printf ',\n    %s' "${entries[@]}")
  cat >"$work/manifest.json" <<JSON
{
  "suite": "$suite",
  "arch": "$(uname -m)",
  "tools": {${joined#,}
  },
  "kernel": "$(cat "$tools/kernel/version")"
}
JSON
  mv "$work/manifest.json" "$tools/manifest.json"
}

report() {
  node -e '
    const m = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
    const tools = Object.entries(m.tools).map(([name, version]) => `${name} ${version}`);
    console.error(`setup: ready: ${[...tools, `guest kernel ${m.kernel}`, `Node.js ${process.versions.node}`].join(", ")}`);
  ' "$tools/manifest.json"
}
