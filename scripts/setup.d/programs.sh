# The programs of tests and demo: .tools/programs/bin, reached as .tools/bin. Sourced by scripts/setup.

least_erofs=1.9.3
least_containerd=2.1

# A program with its own libc and libraries: started through that libc's loader, found from the wrapper's own place so
# that a moved checkout still works.
# wrap <folder> <program>
wrap() {
  local folder=$1 program=$2 loader libraries
  loader=$(cd "$folder" && find root/usr/lib root/usr/lib64 -name 'ld-linux-*.so.*' 2>/dev/null | head -n 1)
  libraries=$(cd "$folder" && dirname "$(find root/usr/lib -name libc.so.6 | head -n 1)")
  [ -n "$loader" ] && [ -n "$libraries" ] || fail "the packages of $suite have no libc where it is expected" "choose another suite with SETUP_SUITE"
  cat >"$folder/bin/$program" <<WRAPPER
#!/bin/sh
self=\$0
[ ! -L "\$self" ] || self=\$(readlink -f "\$self")
here=\${self%/*}/..
exec "\$here/$loader" --inhibit-cache --library-path "\$here/$libraries" --argv0 $program "\$here/root/usr/bin/$program" "\$@"
WRAPPER
  chmod 755 "$folder/bin/$program"
}

# The path of a program on PATH that is new enough, whatever installed it.
# new_enough <program> <least version> <argument that prints the version>
new_enough() {
  local path
  path=$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1") || return 1
  case $path in "$tools"/*) return 1 ;; esac
  at_least "$(version_of "$path" "$3")" "$2" && echo "$path"
}

link_system_erofs() {
  local mkfs
  mkfs=$(new_enough mkfs.erofs $least_erofs --version) || return 1
  local program
  for program in mkfs.erofs fsck.erofs dump.erofs; do ln -s "$(dirname "$mkfs")/$program" "$1/bin/$program"; done
}

link_system_containerd() {
  local daemon
  daemon=$(new_enough containerd $least_containerd --version) && command -v ctr >/dev/null || return 1
  ln -s "$daemon" "$1/bin/containerd"
  ln -s "$(command -v ctr)" "$1/bin/ctr"
}

link_system_registry() {
  local path
  path=$(command -v registry || command -v docker-registry) && ln -s "$path" "$1/bin/registry"
}

# The guest's initramfs has no libraries, so only a static busybox serves.
link_system_busybox() {
  local path
  path=$(command -v busybox) && ! ldd "$path" >/dev/null 2>&1 && ln -s "$path" "$1/bin/busybox"
}

make_programs() {
  local folder=$1 newer=() missing=()
  mkdir -p "$folder/bin"
  link_system_erofs "$folder" || { missing+=("mkfs.erofs, fsck.erofs, dump.erofs (erofs-utils >= $least_erofs)"); newer+=(erofs-utils); }
  link_system_containerd "$folder" || { missing+=("containerd, ctr (containerd >= $least_containerd)"); newer+=(containerd); }
  link_system_busybox "$folder" || { missing+=("busybox (statically linked)"); newer+=(busybox-static); }
  link_system_registry "$folder" || missing+=("registry or docker-registry (the CNCF distribution registry >= 2.8)")
  [ ${#missing[@]} -gt 0 ] || return 0
  is_debian || fail "not on PATH: $(printf '%s; ' "${missing[@]}")" "install them in these versions, or run on Debian, where scripts/setup fetches them itself"
  fetch_programs "$folder" "${newer[@]}"
}

# fetch_programs <folder> <package of the newer suite…>: only what make_programs did not link already.
fetch_programs() {
  local folder=$1 package names=()
  shift
  if [ $# -gt 0 ]; then
    open_apt newer "$suite"
    for package in "$@"; do
      # containerd and busybox run as they are; erofs-utils needs its libraries with it.
      case $package in
        erofs-utils) mapfile -t -O ${#names[@]} names < <(closure newer erofs-utils) ;;
        *) names+=("$package") ;;
      esac
    done
    download newer "$work/programs-debs" "${names[@]}"
    unpack "$work/programs-debs" "$folder/root"
  fi
  if [ ! -e "$folder/bin/registry" ]; then
    open_apt own
    download own "$work/registry-debs" docker-registry
    unpack "$work/registry-debs" "$folder/registry"
    ln -s ../registry/usr/bin/docker-registry "$folder/bin/registry"
  fi
  place_fetched "$folder" "$@"
  rm -rf "$work/programs-debs" "$work/registry-debs" "$folder"/root/usr/share "$folder"/registry/usr/share
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
    esac
  done
  found=$(version_of "$folder/bin/mkfs.erofs" --version)
  at_least "$found" $least_erofs ||
    fail "$suite has erofs-utils ${found:-that does not run here}, needed is $least_erofs or later" "choose a newer suite with SETUP_SUITE"
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
