# shellcheck shell=bash disable=SC2154  # some variables are set in the other files
# Saying what is done, doing it with its output in the log, and doing it once at a time. Sourced by the launcher.

log=$root/out/setup.log
deps=$root/.deps
child=      # process group of the running step
patience=50 # tenths of a second that it has to end after an interrupt
held_lock=

note() { printf 'plumbline: %s\n' "$*" >&2; }

refuse() {
  note "$*"
  exit 2
}

interrupted() { # STATUS
  trap '' INT TERM HUP
  if [[ -t 2 ]]; then printf '\n' >&2; fi
  if [[ -n $child ]]; then
    kill -INT -- "-$child" 2>/dev/null || true
    local waited=0
    while is_running && [[ $waited -lt $patience ]]; do
      if [[ $waited -eq 10 ]]; then note "waiting for it to stop: the log is $log"; fi
      sleep 0.1
      waited=$((waited + 1))
    done
    kill -KILL -- "-$child" 2>/dev/null || true
  fi
  note "interrupted; the next run goes on from here"
  exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'interrupted 129' HUP
trap 'release_lock' EXIT

# One launcher at a time may change .deps and build. A child that outlives a killed launcher keeps the lock.
take_lock() {
  mkdir -p "$deps" "$root/out" 2>/dev/null || true
  [[ -w $deps && -w $root/out ]] || refuse "cannot write to $deps and $root/out; use a checkout that belongs to you"
  local said=
  if command -v flock >/dev/null; then
    exec 9>"$deps/lock"
    until flock -w 1 9; do
      [[ -n $said ]] || note "waiting for another plumbline in $root"
      said=yes
    done
  else
    until mkdir "$deps/lock.d" 2>/dev/null; do
      local owner
      owner=$(cat "$deps/lock.d/owner" 2>/dev/null || true)
      if [[ -n $owner ]] && ! kill -0 "$owner" 2>/dev/null; then
        rm -rf "$deps/lock.d"
        continue
      fi
      [[ -n $said ]] || note "waiting for another plumbline in $root (if there is none: rm -r $deps/lock.d)"
      said=yes
      sleep 1
    done
    echo $$ >"$deps/lock.d/owner"
    held_lock=$deps/lock.d
  fi
  if [[ $(wc -c 2>/dev/null <"$log" || echo 0) -gt 1000000 ]]; then : >"$log"; fi
}

release_lock() {
  if [[ -n $held_lock ]]; then
    rm -rf "$held_lock"
    held_lock=
  fi
  exec 9>&-
}

# The launcher ends here: what it runs gets the signals and gives the exit status.
hand_over() {
  release_lock
  exec "$@"
}

# Ninja's [done/all] from the last line of the log.
progress() { tail -n 1 "$log" 2>/dev/null | sed -n 's/^\(\[[0-9]*\/[0-9]*\]\).*/ \1/p'; }

show_step() { # TITLE SECONDS: one line that moves on a terminal, a line every half minute elsewhere
  if [[ -t 2 ]]; then
    printf '\r\033[Kplumbline: %s: %d s%s' "$1" "$2" "$(progress)" >&2
  elif [[ $2 -ge $next_line ]]; then
    note "$1: $2 s$(progress)"
    next_line=$((next_line + 30))
  fi
}

# Not kill -0, which may not look at what sudo runs.
is_running() { [[ -n $(jobs -r) ]]; }

# step TITLE HINT COMMAND...: silent when it takes less than a second. HINT is the advice when it fails.
step() {
  local title=$1 hint=$2 began=$SECONDS ticks=0 status=0 from next_line=30
  shift 2
  printf -- '-- %s\n' "$title" >>"$log"
  from=$(($(wc -c <"$log") + 1))
  set -m # a process group of its own, so that an interrupt reaches everything it started, once
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  set +m
  while is_running; do
    ticks=$((ticks + 1))
    if [[ $ticks -le 20 ]]; then
      sleep 0.05
    else
      if [[ $ticks -eq 21 && ! -t 2 ]]; then note "$title"; fi
      show_step "$title" $((SECONDS - began))
      sleep 0.5
    fi
  done
  wait "$child" 2>/dev/null || status=$?
  child=
  if [[ $ticks -gt 20 && -t 2 ]]; then printf '\r\033[K' >&2; fi
  if [[ $status -ne 0 ]]; then step_failed; fi
  if [[ $ticks -gt 20 ]]; then note "$title: done in $((SECONDS - began)) s"; fi
}

# Shows the first compiler error where there is one, else the end.
step_failed() {
  local shown
  shown=$(tail -c "+$from" "$log" | sed -n '/^FAILED:/,$p' | head -n 30)
  if [[ -z $shown ]]; then shown=$(tail -c "+$from" "$log" | tail -n 15); fi
  printf '%s\n' "$shown" | cut -c 1-240 | sed 's/^/  | /' >&2
  note "failed after $((SECONDS - began)) s (status $status): $title"
  refuse "the log is $log; $hint"
}
