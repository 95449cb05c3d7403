# Sourced by `dev` and `check`. One .venv beside the code, filled from a hash-checked lock, left alone while that lock
# is unchanged: a copy of the lock it was filled from lies inside it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# filled LOCK: does .venv hold exactly this lock already?
filled() {
  cmp -s "$root/deploy/$1" "$venv/$1" && "$venv/bin/python" -c '' 2>/dev/null
}

# fill LOCK: make it so.
fill() {
  local lock=$root/deploy/$1 log=$venv/install.log total
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
  total=$(grep -c '==' "$lock")
  say "Installing $total packages into ${venv/#"$PWD"\//} (this happens once) ..."
  SECONDS=0
  pip install --no-deps --require-hashes -r "$lock" 2>&1 | tee "$log" | progress "$total" || explain "$log"
  pip install --no-deps --no-build-isolation --editable "$root" >"$log" 2>&1 || explain "$log"
  "$venv/bin/python" -m compileall -q "$root/app" # for a quick start, also where Python was told to write no bytecode
  cp "$lock" "$venv/$1"
  say "Installed in ${SECONDS} s."
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" --progress-bar off; }

make_venv() {
  local python
  python=$(find_python) || die "Darkroom needs Python 3.11 or newer, and this is $("${DARKROOM_PYTHON:-python3}" --version 2>/dev/null || echo none)." \
    "Install one, or name it: DARKROOM_PYTHON=/path/to/python3.12 $0"
  "$python" -m venv --clear "$venv" >&2 || die "$("$python" --version) cannot make a virtual environment here." \
    "On Debian and Ubuntu: apt install python3-venv"
}

find_python() {
  local candidate
  for candidate in ${DARKROOM_PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$candidate" && return
  done
  return 1
}

# progress TOTAL: a person sees which package pip is at; a log file sees nothing.
progress() {
  local word name count=0 total=$1
  while read -r word name _; do
    [ -t 2 ] || continue
    case $word in
      Collecting | Ignoring | Requirement) printf '\r\033[K  %d of %d  %s' $((count += 1)) "$total" "${name%%[=;]*}" >&2 ;;
      Installing) printf '\r\033[K  %d of %d  unpacking' "$total" "$total" >&2 ;;
      Successfully) printf '\r\033[K' >&2 ;;
    esac
  done
}

explain() {
  say ""
  if grep -qiE 'name resolution|NewConnection|Max retries|ConnectTimeout|ReadTimeout|ProxyError|unreachable' "$1"; then
    die "The Python package index does not answer. Check the network or the proxy and run this again: nothing is lost."
  elif grep -qi 'DO NOT MATCH THE HASHES' "$1"; then
    die "A package is not the one that was locked, so it was not installed. Its name is in $1."
  fi
  tail -n 15 "$1" >&2
  die "The installation stopped. All of pip's output is in $1."
}
