# Words that every part of scripts/setup uses. Sourced, never run.

say() { printf 'setup: %s\n' "$*" >&2; }

# fail <what is wrong> <what to do>
fail() {
  printf 'setup: %s\nsetup: what to do: %s\n' "$1" "$2" >&2
  exit 1
}

# at_least <version> <least version>
at_least() { [ -n "$1" ] && [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

fingerprint() { cat -- "$@" | sha256sum | cut -c 1-32; }

# The distribution and its release: packages of another one would not fit.
distribution() { (. /etc/os-release 2>/dev/null && printf '%s-%s' "${ID:-unknown}" "${VERSION_CODENAME:-${VERSION_ID:-}}") || echo unknown; }

is_debian() { [[ $(distribution) == debian-* ]] && command -v apt-get dpkg-deb >/dev/null; }

# logged <what it is for> <what to do when it fails> <command…>: output goes to the log, its end is shown on failure.
logged() {
  local what=$1 advice=$2
  shift 2
  printf '== %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 9<&- && return 0
  tail -n 15 "$log" >&2
  if tail -n 40 "$log" | grep -qE 'Could not resolve|failure resolving|Could not connect|Network is unreachable|Connection timed out'; then
    advice="this machine does not reach its package mirror: check the network, the proxy settings of apt and the sources in /etc/apt, then run scripts/setup again"
  fi
  fail "$what failed (whole log: .tools/setup.log)" "$advice"
}

# The first version number that a program prints for the given arguments; empty when it does not run.
version_of() { { "$@" 2>&1 9<&- || true; } | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1 || true; }
