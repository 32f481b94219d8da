# Shared by ./demo and ./check, sourced with `top` set to the source tree: installs what is missing, configures and
# builds in build/, installs into build/install. Everything is written under build/: the tree is copied there before
# autoreconf, with its times, so that a second run builds only what changed.
: "${top:?}"

packages="build-essential autoconf automake pkg-config libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools libarchive-dev
  libdnnl-dev libjansson-dev libjpeg-dev libpng-dev libpcre2-dev libutf8proc-dev zlib1g-dev libprotobuf-c-dev
  protobuf-c-compiler libcairo2-dev libcmocka-dev gnuplot-nox"
wished=libwebp-dev # WebP pictures: installed where that works, done without where it does not

say() { printf '%s\n' "== $*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

missing_packages() { # missing_packages PACKAGE...
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
  done
}

# install_now ROOT PACKAGES: ROOT is empty or the command that gives root's rights.
install_now() {
  root=$1
  shift
  $root apt-get update -qq &&
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

may_install() { # sets root
  if [ "$(id -u)" = 0 ]; then root=""
  elif sudo -n true 2>/dev/null; then root="sudo -n"
  else return 1
  fi
}

install_needed() { # install_needed PACKAGES
  may_install || die "Some packages are missing and this user may not install them. Ask for, or run as root:

  apt-get update && apt-get install -y --no-install-recommends $1

Where these libraries come from modules instead, build by hand: README.md, \"Install on a cluster\"."
  say "installing: $1"
  # shellcheck disable=SC2086
  install_now "$root" $1 >"$top/build/apt.log" 2>&1 ||
    die "apt-get failed; its last words (all of them are in build/apt.log):
$(tail -n 5 "$top/build/apt.log")"
}

install_packages() {
  command -v dpkg-query >/dev/null || { say "no dpkg here: configure will say what is missing"; return 0; }
  mkdir -p "$top/build"
  # shellcheck disable=SC2086
  missing=$(missing_packages $packages)
  [ -z "$missing" ] || install_needed "$missing"
  # shellcheck disable=SC2086
  missing=$(missing_packages $wished)
  [ -n "$missing" ] && may_install || return 0
  # shellcheck disable=SC2086
  install_now "$root" $missing >>"$top/build/apt.log" 2>&1 || say "going on without $missing"
}

# Files that the source tree no longer has would go on being built and tested.
remove_stale_files() {
  (cd "$tree" && find ./*/ -type f ! -path './build-aux/*' ! -path './autom4te.cache/*') | while IFS= read -r file; do
    [ -e "$top/$file" ] || rm -f "$tree/$file"
  done
}

copy_tree() {
  tree=$top/build/tree
  case "$top" in *[[:space:]]*) die "autotools cannot build below a path with blanks: move '$top'" ;; esac
  mkdir -p "$tree" 2>/dev/null && [ -w "$tree" ] ||
    die "$top/build cannot be written by $(id -un): remove it, or run as its owner"
  # What autoreconf makes is made there, not taken along.
  (cd "$top" && tar cf - --exclude=./build --exclude=./.git --exclude=./autom4te.cache --exclude=./build-aux \
    --exclude=./configure --exclude=./Makefile.in --exclude=./config.h.in \
    --exclude=./aclocal.m4 .) | tar xf - -C "$tree"
  remove_stale_files
  revision=$(git -C "$top" describe --always --dirty --tags 2>/dev/null) && printf '%s\n' "$revision" >"$tree/.revision"
  # Make knows which file is newer; test's -nt is not in every shell.
  printf 'configure: configure.ac Makefile.am %s\n\tautoreconf -fi\n\ttouch configure\n' \
    "$(cd "$tree" && printf '%s ' m4/memclip_*.m4)" >"$tree/.prepare.mk"
  make -C "$tree" -q -f .prepare.mk configure >/dev/null 2>&1 || say "preparing configure"
  make -C "$tree" -f .prepare.mk configure >"$top/build/autoreconf.log" 2>&1 ||
    die "autoreconf failed: $(tail -n 5 "$top/build/autoreconf.log")"
}

# configure_in FOLDER [configure options]: configures when something changed.
configure_in() {
  folder=$1
  shift
  mkdir -p "$folder"
  wanted="$(cksum <"$tree/configure") $*"
  [ ! -f "$folder/Makefile" ] || [ "$(cat "$folder/options" 2>/dev/null)" != "$wanted" ] || return 0
  say "configuring in ${folder#"$top"/}"
  (cd "$folder" && "$tree/configure" --prefix="$top/build/install" "$@") >"$folder/configure.out" 2>&1 ||
    die "configure failed (${folder#"$top"/}/configure.out tells all):
$(sed -n '/error:/,$p' "$folder/configure.out" | head -n 5)"
  printf '%s' "$wanted" >"$folder/options"
}

make_in() {
  folder=$1
  shift
  make -C "$folder" -j"$(nproc)" "$@" >"$folder/make.out" 2>&1 && return 0
  grep -E 'error|Error' "$folder/make.out" | head -n 20 >&2
  die "the build failed: ${folder#"$top"/}/make.out tells all"
}

# One environment for every launch: root may run mpirun in containers, idle threads sleep, ranks are not bound to single
# cores.
launch_environment() {
  export OMP_WAIT_POLICY=passive HDF5_USE_FILE_LOCKING=FALSE OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
  [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
}
