# shellcheck shell=bash disable=SC2154  # some variables are set in the other files
# What the system has to bring: a compiler and the C++ libraries. Nothing is asked for that is there.

# zlib comes with HDF5's package, and with macOS itself.
# what shows that it is there (any of them; LibTorch brings headers of fmt), Debian's package, Homebrew's, name
libraries='
include/catch2/catch_session.hpp                  libcatch2-dev      catch2           Catch2 3
include/hdf5.h|include/hdf5/serial/hdf5.h         libhdf5-dev        hdf5             HDF5
include/nlohmann/json.hpp                         nlohmann-json3-dev nlohmann-json    nlohmann-json
include/CLI/CLI.hpp                               libcli11-dev       cli11            CLI11
lib*/cmake/fmt/fmt-c*.cmake|lib/*/cmake/fmt/fmt-c*.cmake libfmt-dev  fmt              fmt
include/openssl/evp.h                             libssl-dev         openssl@3        OpenSSL
include/boost/math/distributions/binomial.hpp     libboost-dev       boost            Boost.Math
include/benchmark/benchmark.h                     libbenchmark-dev   google-benchmark Google Benchmark
'

# Folders where CMake will look, one a line.
prefixes() {
  list_entries "${CMAKE_PREFIX_PATH:-}"
  printf '%s\n' "${HDF5_ROOT:-}" "${OPENSSL_ROOT_DIR:-}"
  brew_prefixes
  printf '%s\n' /usr /usr/local
}

# OpenSSL is installed apart from the rest on macOS.
brew_prefixes() {
  local brew
  if [[ $OSTYPE == darwin* ]] && brew=$(command -v brew); then
    brew=${HOMEBREW_PREFIX:-${brew%/bin/brew}}
    printf '%s\n' "$brew" "$brew/opt/openssl@3"
  fi
}

newline=$'\n' # bash 3.2 takes no $'...' within a substitution

is_there() { # PATTERN|PATTERN PREFIXES
  local prefix pattern
  while IFS= read -r prefix; do
    while IFS= read -r pattern; do
      if [[ -n $prefix ]] && compgen -G "$prefix/$pattern" >/dev/null; then return 0; fi
    done <<<"${1//|/$newline}"
  done <<<"$2"
  return 1
}

has_compiler() {
  if [[ -n ${CXX:-} ]]; then
    command -v "${CXX%% *}" >/dev/null || refuse "CXX names $CXX, which was not found"
    return 0
  fi
  command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null
}

need() { # APT BREW NAME
  missing_apt+=("$1")
  if [[ -n $2 ]]; then missing_brew+=("$2"); fi
  missing_names=${missing_names:+$missing_names, }$3
}

find_missing() { # build | python
  missing_apt=() missing_brew=() missing_names=
  if [[ $1 == build ]]; then
    local signs apt brew name searched
    searched=$(prefixes)
    has_compiler || need g++ "" "a C++20 compiler"
    while read -r signs apt brew name; do
      if [[ -n $signs ]] && ! is_there "$signs" "$searched"; then need "$apt" "$brew" "$name"; fi
    done <<<"$libraries"
  fi
  if ! python_is_ready; then
    if ! find_base_python; then
      need python3 python@3.12 "Python 3.10 or newer"
      need python3-venv "" "its venv module"
    elif ! "$base_python" -I -c 'import ensurepip, venv' 2>/dev/null; then
      [[ $base_python == /usr/bin/* ]] || refuse "$base_python has no venv and ensurepip modules; name another Python in PLUMBLINE_PYTHON"
      need "$(system_venv_package)" "" "Python's venv module"
    fi
  fi
}

# python3-venv belongs to the default Python, python3.12-venv to that one.
system_venv_package() {
  if [[ ${base_python##*/} == python3 ]]; then echo python3-venv; else echo "${base_python##*/}-venv"; fi
}

install_with_apt() {
  missing_apt+=(libgoogle-perftools-dev) # tcmalloc: nothing needs it, and runs at small sizes take a sixth less time
  local command=(bash "$root/cmake/launcher/apt.sh" "${missing_apt[@]}")
  if [[ $EUID -ne 0 ]]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      note "missing on this machine: $missing_names; someone with root's rights has to run, once:"
      printf '  sudo bash %q%s\n' "$root/cmake/launcher/apt.sh" "$(printf ' %s' "${missing_apt[@]}")" >&2
      exit 2
    fi
    command=(sudo -n "${command[@]}")
  fi
  note "missing on this machine: ${missing_apt[*]}"
  # shellcheck disable=SC2034  # for interrupted: apt finishes the packages that it has begun
  local patience=3000
  step "installing system packages with apt" "is the network reachable, and does apt-get work by itself?" "${command[@]}"
}

install_missing() {
  local system=$OSTYPE
  if [[ -r /etc/os-release ]]; then
    # shellcheck source=/dev/null
    system=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
  fi
  case $system in
  "debian 12" | "debian 13") install_with_apt ;;
  "ubuntu 24.04")
    missing_apt=("${missing_apt[@]/#libcatch2-dev/catch2}") # its name there
    install_with_apt
    ;;
  darwin*)
    command -v brew >/dev/null || refuse "missing: $missing_names; install Homebrew, or the libraries by hand"
    [[ " ${missing_apt[*]} " != *" g++ "* ]] || refuse "missing: $missing_names; run xcode-select --install first"
    [[ ${#missing_brew[@]} -gt 0 ]] || refuse "missing: $missing_names; install it by hand"
    note "missing on this machine: ${missing_brew[*]}"
    step "installing system packages with brew" "does brew work by itself?" brew install "${missing_brew[@]}"
    ;;
  *) refuse "missing: $missing_names (Debian calls them ${missing_apt[*]}); install them with your system's package manager" ;;
  esac
}

ensure_packages() { # build | python
  find_missing "$1"
  if [[ ${#missing_apt[@]} -eq 0 ]]; then return 0; fi
  install_missing
  hash -r
  find_missing "$1"
  [[ ${#missing_apt[@]} -eq 0 ]] || refuse "still missing after the installation: $missing_names; the log is $log"
}
