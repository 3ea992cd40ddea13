# shellcheck shell=bash disable=SC2154  # some variables are set in the other files
# .deps/python: a virtual environment with the torch wheel (LibTorch is in it), numpy, h5py, safetensors, CMake, Ninja.
# A stamp, written last, says what is in it; without the right stamp it is made again.

environment=$deps/python
python=$environment/bin/python
requirements=$root/cmake/requirements.txt

python_version() { # PYTHON; fails before 3.10
  "$1" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

find_base_python() {
  local name
  if [[ -n ${PLUMBLINE_PYTHON:-} ]]; then
    base_python=$(command -v "$PLUMBLINE_PYTHON") || base_python=/nonexistent
    python_version "$base_python" >/dev/null || refuse "PLUMBLINE_PYTHON names $PLUMBLINE_PYTHON, which is no Python 3.10 or newer"
    return 0
  fi
  for name in python3 python3.13 python3.12 python3.11 python3.10; do
    if base_python=$(command -v "$name") && python_version "$base_python" >/dev/null; then return 0; fi
  done
  return 1
}

list_entries() { printf '%s\n' "$1" | tr ':' '\n' | tr ';' '\n'; } # LIST: one a line

# The user's own LibTorch, if CMAKE_PREFIX_PATH leads to one.
own_libtorch() {
  local prefix
  while IFS= read -r prefix; do
    if [[ -n $prefix && -f $prefix/include/ATen/ATen.h ]]; then return 0; fi
  done <<<"$(list_entries "${CMAKE_PREFIX_PATH:-}")"
  return 1
}

packages_wanted() { # with-torch | without-torch
  if [[ $1 == with-torch ]]; then grep -v '^#' "$requirements"; else grep -v -e '^#' -e '^torch==' "$requirements"; fi
}

# Sets site_packages and has_torch as well.
python_is_ready() {
  local stamp=$environment/plumbline-stamp base version packages
  [[ -f $stamp && -x $python ]] || return 1
  { read -r base && read -r version && packages=$(cat); } <"$stamp" || return 1
  if [[ -n ${PLUMBLINE_PYTHON:-} && $(command -v "$PLUMBLINE_PYTHON") != "$base" ]]; then return 1; fi
  [[ $(python_version "$python") == "$version" ]] || return 1
  site_packages=$environment/lib/python$version/site-packages
  has_torch=yes
  if [[ $packages == "$(packages_wanted with-torch)" ]]; then return 0; fi
  has_torch=
  own_libtorch && [[ $packages == "$(packages_wanted without-torch)" ]]
}

pip_install() { # ARGUMENTS...; pip's own configuration stays in force, but for where it installs
  env -u PYTHONPATH -u PYTHONHOME -u PIP_TARGET -u PIP_PREFIX PIP_USER=0 \
    "$python" -m pip install --no-input --disable-pip-version-check --progress-bar off "$@"
}

make_python() { # with-torch | without-torch
  rm -rf "$environment"
  "$base_python" -m venv "$environment"
  packages_wanted "$1" >"$environment/requirements.txt"
  pip_install -r "$environment/requirements.txt"
  local modules="numpy, h5py, safetensors"
  if [[ $1 == with-torch ]]; then modules="torch, $modules"; fi
  "$python" -I -c "import $modules"
  { printf '%s\n' "$base_python" "$(python_version "$python")" && packages_wanted "$1"; } >"$environment/plumbline-stamp"
}

ensure_python() {
  if python_is_ready; then return 0; fi
  find_base_python || refuse "no Python 3.10 or newer found; name one in PLUMBLINE_PYTHON"
  local what=with-torch named="PyTorch and other Python packages"
  if own_libtorch; then
    what=without-torch named="Python packages, without PyTorch"
    note "LibTorch comes from CMAKE_PREFIX_PATH: no torch wheel; reading .pth files and comparing with transformers need one"
  fi
  step "fetching $named" "is the network reachable? If not, set pip's PIP_INDEX_URL or PIP_FIND_LINKS" \
    make_python "$what"
  python_is_ready || refuse "$environment is not usable; remove it and try again"
}

# Packages for tests and benchmarks, each set in a folder of its own, .deps/NAME: what cmake/requirements-NAME.txt lists.
fetch_beside() { # NAME
  rm -rf "${deps:?}/$1"
  pip_install --no-deps --target "$deps/$1" -r "$root/cmake/requirements-$1.txt"
  beside_stamp "$1" >"$deps/$1/plumbline-stamp"
}

beside_stamp() { # NAME
  printf '%s\n' "$site_packages"
  cat "$root/cmake/requirements-$1.txt"
}

is_beside() { # NAME
  [[ $(cat "$deps/$1/plumbline-stamp" 2>/dev/null) == "$(beside_stamp "$1")" ]]
}

ensure_beside() { # NAME...
  local name
  for name in "$@"; do
    if is_beside "$name"; then continue; fi
    step "fetching $(grep -v '^#' "$root/cmake/requirements-$name.txt" | head -1) into .deps/$name" \
      "is the network reachable? (this package needs Python 3.11 or newer)" fetch_beside "$name"
  done
}

# Hugging Face's transformers, beside the environment since two versions are wanted.
ensure_transformers() { # MAJOR...
  local major
  if [[ -z $has_torch ]]; then return 0; fi
  for major in "$@"; do ensure_beside "transformers-$major"; done
}
