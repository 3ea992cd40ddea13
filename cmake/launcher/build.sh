# shellcheck shell=bash disable=SC2154  # some variables are set in the other files
# Configuring and building build/release.

build=$root/build/release

# The first program of that name in PATH that is no script: wrappers (pyenv's) are slow and may lead nowhere.
real_program() { # NAME
  local path
  while IFS= read -r path; do
    if [[ -n $path && $(head -c 2 "$path" | tr -d '\0') != '#!' ]]; then
      printf '%s\n' "$path"
      return 0
    fi
  done <<<"$(type -aP "$1")"
  return 1
}

# The system's CMake if it is 3.25 or newer and its Ninja, else the ones in .deps/python.
find_tools() {
  local version=
  if cmake=$(real_program cmake); then version=$("$cmake" --version 2>/dev/null | sed -n 's/^cmake version //p'); fi
  local major=${version%%.*} minor=${version#*.}
  minor=${minor%%.*}
  if [[ ! $version == [0-9]*.* ]] || [[ $major -lt 3 || ($major -eq 3 && $minor -lt 25) ]]; then
    cmake=$site_packages/cmake/data/bin/cmake
    if [[ ! -x $cmake ]]; then cmake=$environment/bin/cmake; fi
  fi
  ninja=$(real_program ninja) || ninja=$environment/bin/ninja
}

check_compiler() {
  local compiler=${CXX:-} name major
  for name in c++ g++ clang++; do
    if [[ -z $compiler ]] && command -v "$name" >/dev/null; then compiler=$name; fi
  done
  # shellcheck disable=SC2086  # CXX may hold arguments
  major=$($compiler -dM -E -x c++ /dev/null 2>/dev/null |
    awk '$2 == "__clang_major__" { print "clang"; exit } $2 == "__GNUC__" { gnu = $3 } END { if (gnu) print gnu }' | head -n 1)
  if [[ $major =~ ^[0-9]+$ && $major -lt 11 ]]; then
    refuse "$compiler is GCC $major; C++20 needs GCC 11 or newer: install one and name it in CXX"
  fi
}

# What a configured tree has to hold; CMake's cache and our stamp together, since people also run cmake themselves.
prefix_path() {
  local prefix list
  list=$(printf '%s' "${CMAKE_PREFIX_PATH:-}" | tr ':' ';')
  while IFS= read -r prefix; do list=${list:+$list;}$prefix; done <<<"$(brew_prefixes)"
  if ! own_libtorch; then list=${list:+$list;}$site_packages/torch; fi
  printf '%s\n' "${list%;}"
}

environment_stamp() {
  printf '%s\n' "${CC:-}" "${CXX:-}" "${CFLAGS:-}" "${CXXFLAGS:-}" "${LDFLAGS:-}"
  cat "$root/CMakePresets.json"
}

cache_value() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; } # NAME

is_configured() {
  [[ -f $build/build.ninja && -f $build/CMakeCache.txt ]] || return 1
  [[ $(cat "$build/plumbline-stamp" 2>/dev/null) == "$(environment_stamp)" ]] || return 1
  local agreeing
  agreeing=$(grep -c -x -F -e "CMAKE_HOME_DIRECTORY:INTERNAL=$root" -e "CMAKE_PREFIX_PATH:STRING=$(prefix_path)" \
    -e "PLUMBLINE_PYTHON:STRING=$python" -e "CMAKE_BUILD_TYPE:STRING=Release" -e "CMAKE_GENERATOR:INTERNAL=Ninja" \
    -e "PLUMBLINE_SANITIZE:STRING=" "$build/CMakeCache.txt") || return 1
  cmake=$(cache_value CMAKE_COMMAND) ninja=$(cache_value CMAKE_MAKE_PROGRAM)
  [[ $agreeing -eq 6 && -x $cmake && -x $ninja ]]
}

configure() {
  cd "$root" || return
  "$cmake" --preset release --fresh "-DCMAKE_MAKE_PROGRAM:FILEPATH=$ninja" "-DCMAKE_PREFIX_PATH:STRING=$(prefix_path)" \
    "-DPLUMBLINE_PYTHON:STRING=$python"
  environment_stamp >"$build/plumbline-stamp"
}

# A compiler that reads LibTorch's headers takes up to 1.5 GB.
build_jobs() {
  local jobs memory
  jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
  if memory=$(awk '$1 == "MemAvailable:" { print int($2 / 1500000) }' /proc/meminfo 2>/dev/null) &&
    [[ -n $memory && $memory -lt $jobs ]]; then
    jobs=$((memory > 0 ? memory : 1))
  fi
  echo "${CMAKE_BUILD_PARALLEL_LEVEL:-$jobs}"
}

ensure_built() { # TARGET...
  if ! is_configured; then
    find_tools
    check_compiler
    step "configuring build/release" "a missing or too old library is named above" configure
  fi
  step "building $* in build/release" "if the log does not explain it, remove $build and try again" \
    "$ninja" -C "$build" -j "$(build_jobs)" "$@"
}
