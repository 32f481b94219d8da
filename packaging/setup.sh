# Shared by ./demo and ./check: installs what is missing, configures and builds in build/, installs into build/install. Sourced with `top` set to the source tree.
# Everything is written under build/: the tree is copied there before autoreconf, with its times, so that a second run builds only what changed.

packages="build-essential autoconf automake libtool pkg-config git ca-certificates libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools libarchive-dev libdnnl-dev
  libjansson-dev libjpeg-dev libpng-dev libpcre2-dev libutf8proc-dev zlib1g-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libcairo2-dev libcmocka-dev gnuplot-nox"

say() { printf '%s\n' "== $*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

missing_packages() {
  for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
  done
}

install_packages() {
  command -v dpkg-query >/dev/null || { say "no dpkg here: configure will say what is missing"; return 0; }
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" = 0 ]; then as_root=""
  elif sudo -n true 2>/dev/null; then as_root="sudo -n"
  else die "Some packages are missing and this user may not install them. Ask for, or run as root:

  apt-get update && apt-get install -y --no-install-recommends $missing"
  fi
  say "installing: $missing"
  mkdir -p "$top/build"
  { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$top/build/apt.log" 2>&1 ||
    die "apt-get failed; its last words (all of them are in build/apt.log):
$(tail -n 5 "$top/build/apt.log")"
}

# configure_in FOLDER [configure options]: copies the tree, makes configure, configures when something changed.
copy_tree() {
  mkdir -p "$top/build/tree" 2>/dev/null && [ -w "$top/build/tree" ] || die "build/ cannot be written by $(id -un): remove it, or run as its owner"
  (cd "$top" && tar cf - --exclude=./build --exclude=./.git --exclude=./autom4te.cache --exclude=./configure --exclude=./Makefile.in --exclude=./config.h.in --exclude=./aclocal.m4 \
    --exclude=./build-aux .) | tar xf - -C "$top/build/tree"
  if [ ! -x "$top/build/tree/configure" ] || [ "$top/build/tree/configure.ac" -nt "$top/build/tree/configure" ] || [ "$top/build/tree/Makefile.am" -nt "$top/build/tree/Makefile.in" ]; then
    say "preparing configure"
    (cd "$top/build/tree" && autoreconf -fi) >"$top/build/autoreconf.log" 2>&1 || die "autoreconf failed: $(tail -n 5 "$top/build/autoreconf.log")"
  fi
}

configure_in() {
  folder=$1
  shift
  mkdir -p "$folder"
  if [ ! -f "$folder/Makefile" ] || [ "$top/build/tree/configure" -nt "$folder/Makefile" ] || [ "$(cat "$folder/options" 2>/dev/null)" != "$*" ]; then
    say "configuring in ${folder#"$top"/}"
    (cd "$folder" && "$top/build/tree/configure" --prefix="$top/build/install" "$@") >"$folder/configure.out" 2>&1 ||
      die "configure failed: $(grep -i error "$folder/configure.out" | tail -n 5)"
    printf '%s' "$*" >"$folder/options"
  fi
}

make_in() {
  folder=$1
  shift
  make -C "$folder" -j"$(nproc)" "$@" >"$folder/make.out" 2>&1 || { grep -E 'error|Error' "$folder/make.out" | head -n 20 >&2; die "the build failed: ${folder#"$top"/}/make.out tells all"; }
}

# One environment for every launch: root may run mpirun in containers, idle threads sleep, ranks are not bound to single cores.
launch_environment() {
  export OMP_WAIT_POLICY=passive HDF5_USE_FILE_LOCKING=FALSE OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
  [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
}
