#!/usr/bin/env bash
# apt.sh PACKAGE...: installs them on Debian 12/13 or Ubuntu 24.04, as root, without changing apt's configuration.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
options=(-y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 -o Acquire::http::Timeout=30)
# shellcheck source=/dev/null
. /etc/os-release

usual=() backports=() optional=()
for package in "$@"; do
  if [[ $package == libcatch2-dev && ${VERSION_CODENAME:-} == bookworm ]]; then
    backports+=("$package") # Debian 12 itself has version 2, whose headers are others
  elif [[ $package == libgoogle-perftools-dev ]]; then
    optional+=("$package")
  else
    usual+=("$package")
  fi
done

# apt-get itself ignores an interrupt while it installs; then this ends between two of them.
trap 'exit 130' INT TERM

# An earlier run may have been interrupted, or may still be at it.
for ((tries = 0; tries < 60; ++tries)); do
  if problem=$(dpkg --configure -a 2>&1) || [[ $problem != *lock* ]]; then break; fi
  sleep 2
done
printf '%s\n' "$problem"
# One broken source of the machine's own need not matter; what does matter fails below.
apt-get update "${options[@]}" || echo "apt-get update failed; continuing with the package lists of this machine"
if [[ ${#usual[@]} -gt 0 ]]; then apt-get install "${options[@]}" "${usual[@]}"; fi
for package in ${optional[@]+"${optional[@]}"}; do
  apt-get install "${options[@]}" "$package" || echo "goes on without $package"
done
if [[ ${#backports[@]} -eq 0 ]]; then exit 0; fi

# Debian's own backports suite from the mirror that this machine uses already, in lists of our own.
# shellcheck disable=SC2016  # apt's variable, not the shell's
mirror=$(apt-get indextargets --format '$(SITE)' 'Codename: bookworm' 'Origin: Debian' 'Identifier: Packages' | head -n 1)
if [[ -z $mirror ]]; then
  echo "no Debian mirror found in this machine's apt sources; install ${backports[*]} from bookworm-backports by hand"
  exit 1
fi
private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
chmod 755 "$private" # apt drops root while it downloads
mkdir -p "$private/sources" "$private/lists/partial"
cat >"$private/sources/backports.sources" <<END
Types: deb
URIs: $mirror
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
options+=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$private/sources"
  -o "Dir::State::Lists=$private/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
apt-get update "${options[@]}"
apt-get install "${options[@]}" -t bookworm-backports "${backports[@]}"
