# Sourced by `backup` and `restore`: where an installation keeps what it keeps, by the variables that tell the service.
# Paths end up in $home (this world's part of the data folder) and $files (empty when the pictures are in a bucket).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
export PYTHONPATH=$root PYTHONSAFEPATH=1

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
explain_yourself() { sed -n '2,/^set/s/^# \{0,1\}//p' "$1" >&2; exit 2; }

darkroom() { "$python" -m app "$@"; }
copies() { "$python" "$root/deploy/copies.py" "$@"; }

# The password travels in the environment: everybody on the machine can read the arguments of a program.
in_postgres() {
  command -v "$1" >/dev/null || die "$1 is not installed. On Debian and Ubuntu: apt install postgresql-client"
  "$@"
}

data=${DARKROOM_DATA:-.darkroom}
world=real
if [ -n "${DARKROOM_FAL_URL:-}" ]; then world=sandbox; fi
home=$data/$world
case ${DARKROOM_STORAGE_URL:-} in
  s3://*) files='' ;;
  disk:*) files=${DARKROOM_STORAGE_URL#disk:}/$world ;;
  *) files=$home/files ;;
esac
database_url=${DARKROOM_DATABASE_URL:-}
database=sqlite
if [ -n "$database_url" ]; then
  database=postgresql
  settings=$(copies libpq)
  eval "$settings"
fi
