# The guest's kernel and the modules it needs, with their order of loading. Sourced by scripts/setup.

least_kernel=6.12
# What a guest needs to find its disks and ports and mount EROFS, ext4, the overlay and live shares. A name without a file is built in.
guest_modules=(virtio_pci virtio_mmio virtio_blk virtio_console crc32c_generic ext4 erofs overlay fuse virtiofs)

make_kernel() {
  local folder=$1 image modules
  mkdir -p "$folder/modules"
  if [ -n "${SETUP_KERNEL:-}" ]; then
    image=$SETUP_KERNEL
    [ -r "$image" ] || fail "SETUP_KERNEL is $image, which is not a readable file" "name a Linux kernel image, $least_kernel or later"
    modules=${SETUP_MODULES:-/lib/modules/$(kernel_version "$image")}
    [ "${modules##*/}" ] || fail "the version of $image is not readable" "set SETUP_MODULES to the folder with its modules"
  elif is_debian; then
    fetch_kernel
    image=$(find "$work/kernel-root" \( -name vmlinuz -o -name 'vmlinuz-*' \) -type f -print -quit)
    modules=$(find "$work/kernel-root" -type d -path '*/lib/modules/*' -name kernel -print -quit)
    [ -n "$image" ] && [ -n "$modules" ] || fail "the kernel packages of $suite have no vmlinuz or no modules where they are expected" "choose another suite with SETUP_SUITE, or name a kernel with SETUP_KERNEL"
    modules=${modules%/kernel}
  else
    image=$(running_kernel)
    modules=/lib/modules/$(uname -r)
  fi
  [ -d "$modules" ] || fail "$modules does not exist" "set SETUP_MODULES to the folder with the modules of $image"
  basename "$modules" >"$folder/version"
  at_least "$(cat "$folder/version")" $least_kernel ||
    fail "the guest kernel is $(cat "$folder/version"), needed is $least_kernel or later" "choose a newer suite with SETUP_SUITE, or name a kernel with SETUP_KERNEL"
  cp "$image" "$folder/vmlinuz"
  collect_modules "$modules" "$folder"
  rm -rf "$work/kernel-root" "$work/kernel-debs"
}

# The version as an x86 image carries it in its header, "6.12.1-name (builder) #1 …"; empty for other images.
kernel_version() { { grep -aoE '[0-9]+\.[0-9]+\.[0-9]+[^ ]* \([^)]*\) #' "$1" || true; } | head -n 1 | cut -d ' ' -f 1; }

running_kernel() {
  local image
  for image in "/lib/modules/$(uname -r)/vmlinuz" "/boot/vmlinuz-$(uname -r)"; do
    [ ! -r "$image" ] || { echo "$image"; return 0; }
  done
  return 1
}

# Newer suites keep the image in linux-binary-* and the modules in linux-modules-*; older ones have all in linux-image-*.
fetch_kernel() {
  local architecture names
  architecture=$(dpkg --print-architecture)
  open_apt newer "$suite"
  mapfile -t names < <(closure newer "linux-image-cloud-$architecture" | grep -E '^linux-(image|binary|modules)-[0-9]')
  [ ${#names[@]} -gt 0 ] || fail "$suite has no linux-image-cloud-$architecture" "choose another suite with SETUP_SUITE, or name a kernel with SETUP_KERNEL"
  download newer "$work/kernel-debs" "${names[@]}"
  say "unpacking the guest kernel"
  unpack "$work/kernel-debs" "$work/kernel-root"
}

# collect_modules <modules folder> <target>: copies guest_modules and all they depend on, decompressed, and writes
# modules.order so that each follows what it needs. The dependencies are read from the modules themselves: modules.dep
# exists only where depmod ran.
declare -A module_file=() module_done=()
collect_modules() {
  local path name
  while read -r path; do
    name=${path##*/}
    name=${name%%.ko*}
    module_file[${name//-/_}]=$path
  done < <(find "$1/" -name '*.ko*')
  : >"$2/modules.order"
  for name in "${guest_modules[@]}"; do add_module "$name" "$2"; done
}

add_module() {
  local name=${1//-/_} target=$2 path needed
  [ -z "${module_done[$name]:-}" ] || return 0
  module_done[$name]=1
  path=${module_file[$name]:-}
  [ -n "$path" ] || return 0
  case $path in
    *.xz) xz -dc "$path" ;;
    *.zst) zstd -qdc "$path" ;;
    *.gz) gzip -dc "$path" ;;
    *) cat "$path" ;;
  esac >"$target/modules/$name.ko"
  for needed in $(needed_modules "$target/modules/$name.ko"); do add_module "$needed" "$target"; done
  echo "$name.ko" >>"$target/modules.order"
}

# The .modinfo section holds NUL-terminated `depends=a,b` and `softdep=pre: c post: d`.
needed_modules() {
  tr '\0' '\n' <"$1" | sed -nE 's/^depends=//p; s/^softdep=pre: ([^:]*)( post:.*)?$/\1/p' | tr ', ' '\n\n' | grep -v '^$' || true
}
