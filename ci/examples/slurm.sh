#!/usr/bin/env bash
# Verifies a candidate as a Slurm job array, and merges its parts into one verdict in a job after it:
#
#   ci/examples/slurm.sh 4 DIR my_adapter.py --python "$PWD/.venv/bin/python"
#
# 4: parts; DIR: a new directory that all nodes see; then the candidate and options as for `plumbline verify`, without
# --shard and --out. Waits for the end; the exit status is the verdict's, as of verify. What else Slurm needs is taken from
# its own variables: SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_CONSTRAINT, ... A GPU's name, the number of threads and the
# system's version are parts of a run, so that all nodes have to be of one kind. PLUMBLINE: the program (default: ./plumbline), built beforehand, since nodes may have no
# network.
#
# It fails closed: merging refuses parts that are missing, doubled, damaged or of another run. To do part 3 again:
#
#   sbatch --wait --array=3 ci/examples/slurm.sh part 4 DIR my_adapter.py --python "$PWD/.venv/bin/python"
#   sbatch --wait ci/examples/slurm.sh merge DIR
#
# It could not be tried on a Slurm; it was with a stand-in for sbatch.
set -euo pipefail

refuse() { # WHY
  printf 'slurm.sh: %s\n' "$1" >&2
  exit 2
}

submit() { # PARTS DIR CANDIDATE [OPTIONS...]
  [[ $# -ge 3 ]] || refuse "expected PARTS DIR CANDIDATE, see the top of this file"
  [[ $1 =~ ^[1-9][0-9]*$ ]] || refuse "$1 is no number of parts"
  local parts=$1 directory=$2 array
  shift 2
  mkdir -p "$directory"
  directory=$(cd "$directory" && pwd)
  [[ -z $(ls -A "$directory") ]] || refuse "$directory is not empty: parts of another run could get among these"
  array=$(sbatch --parsable --job-name=plumbline --array="1-$parts" --output="$directory/part-%a.log" "$0" part "$parts" "$directory" "$@")
  # After any end of theirs: whether all are there is for merging to see.
  sbatch --wait --job-name=plumbline-merge --dependency="afterany:${array%%;*}" --output="$directory/merge.log" "$0" merge "$directory" || status=$?
  if [[ -f $directory/merge.log ]]; then cat "$directory/merge.log"; fi
}

# Exit status 3: so far nothing failed, which is all that a part can say; 1: something failed. Both are for merging to judge.
part() { # PARTS DIR CANDIDATE [OPTIONS...]
  local of=$1 directory=$2 out
  shift 2
  out=$directory/part-${SLURM_ARRAY_TASK_ID:?is set in a job array}
  rm -rf "$out"
  "$program" verify "$@" --seed "$SLURM_ARRAY_JOB_ID" --shard "$SLURM_ARRAY_TASK_ID/$of" --out "$out" || status=$?
  case $status in 1 | 3) status=0 ;; esac
}

merge() { # DIR
  "$program" report merge "$1"/part-*/ --out "$1/whole" || status=$?
  "$program" report check "$1/whole" || exit
}

status=0
program=${PLUMBLINE:-$PWD/plumbline}
[[ -x $program ]] || refuse "$program is no program: name it in PLUMBLINE"
case ${1:-} in
part) shift && part "$@" ;;
merge) shift && merge "$@" ;;
*) submit "$@" ;;
esac
exit "$status"
