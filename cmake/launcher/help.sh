# shellcheck shell=bash
# What --help shows without installing or building anything.

help_main() {
  cat <<'END'
Usage: plumbline COMMAND [ARGUMENTS]
Judges language models against an architecture. The first run fetches what is missing and builds; later ones just run.

  verify [CANDIDATE]   judge a live model, a checkpoint's folder, a .pth file, the reference model or a defect
  record ADAPTER       judge a live model and keep all that it answered, to be judged or compared again elsewhere
  compare ONE OTHER    did a refactor change anything? any two candidates
  sample CANDIDATE     let a candidate write: greedy or sampled text from prompts
  text FILE            how repetitive are texts? a model's samples, or anyone's
  log FILE             is this a sound training run? its loss curve judged
  experiment repeater  which difference makes a model repeat itself? trains small models and says
  requirements [ID]    what is required, and from where; what tests it and which defects fail it
  defects [NAME]       the known mistakes that a failing model is tried for
  claims               what becomes of nine claims about MiniMind2-Small
  campaign [NAME...]   whether the suites see every known mistake and leave honest variants in peace
  report ACTION        render, merge, diff or check what verify wrote
  adapter ACTION       init: write what connects a live model; check: try it alone
  export DIR           write the reference's own weights as a Hugging Face checkpoint
  test [PATTERN]       run the project's own tests
  lint [FILE...]       look at our own sources: layout, mistakes, spelling, types, sizes
  bench                run the benchmarks
  golden ACTION        check, record or accept the golden tensors; make some for a specification of your own
  COMMAND --help       more about one of them

Exit status: 0 conforms, 1 does not conform, 2 could not be judged (or set up, or built), 3 incomplete.
Environment: PLUMBLINE_PYTHON            the Python (3.10 or newer) to make .deps/python from
             CMAKE_PREFIX_PATH           folders with libraries of your own; with a LibTorch in it, none is fetched
             CMAKE_BUILD_PARALLEL_LEVEL  compilers at a time
             CXX, CXXFLAGS, PIP_*        as CMake and pip take them
END
}

help_verify() {
  cat <<'END'
Usage: plumbline verify [CANDIDATE] [--spec NAME|FILE] [--device auto|cpu|cuda[:N]] [--dtype f32|bf16] [--threads N]
                        [--only CHAPTER,...] [--golden DIR] [--name TEXT] [--out DIR] [--python PATH] [--timeout SECONDS]
                        [--no-diagnosis] [--shard I/N] [--waivers FILE]
CANDIDATE: nothing for the built-in reference, a live model's adapter.py or 'exec: COMMAND', a recording FILE.h5, a folder with
config.json and *.safetensors, a FILE.pth (with --spec), or defect:NAME. --python: the interpreter that runs an adapter.
A bundle goes to DIR (out): report.html to read, result.json, and what derives from it (JUnit XML, summary.md, SARIF, ...).
END
}

help_claims() {
  cat <<'END'
Usage: plumbline claims
Confirms or refutes nine claims that a document makes about MiniMind2-Small, with the exact figures. None is about anybody's model.
END
}

help_record() {
  cat <<'END'
Usage: plumbline record ADAPTER.py|'exec: COMMAND' -o FILE.h5 [OPTIONS AS FOR VERIFY]
Judges a live model and writes all that it answered to FILE.h5, for `plumbline verify FILE.h5` and `plumbline compare FILE.h5 ...`.
END
}

help_compare() {
  cat <<'END'
Usage: plumbline compare ONE OTHER [--spec NAME|FILE] [--device auto|cpu|cuda[:N]] [--dtype f32|bf16] [--threads N] [--out DIR]
                         [--python PATH] [--timeout SECONDS]
ONE, OTHER: candidates as for verify, what it was before and what it is now. Both are given the same weights and asked the same.
Exit status: 0 the same, bit for bit or within rounding, which the verdict says; 1 not the same; 2 could not be compared; 3 incomplete.
END
}

help_sample() {
  cat <<'END'
Usage: plumbline sample CANDIDATE --prompts FILE -o SAMPLES.jsonl [--spec NAME|FILE] [--tokenizer tokenizer.json] [--temperature T]
                        [--top-k K] [--top-p P] [--repetition-penalty R] [--seed N] [--tokens N] [--end ID] [--samples N] [--batch N]
                        [--device auto|cpu|cuda[:N]] [--dtype f32|bf16] [--threads N] [--python PATH] [--timeout SECONDS]
CANDIDATE: as for verify; a checkpoint runs on our engine. FILE: .jsonl with 'ids' or 'prompt' in each line, else a prompt a line.
The same seed gives the same tokens whatever the batch. --temperature 0 is greedy.
END
}

help_text() {
  cat <<'END'
Usage: plumbline text FILE [--baseline FILE] [--unit ids|words|characters] [--vocabulary N] [--sentence-ends ID,...] [--seed N]
                      [-o FILE.json] [--each FILE.jsonl]
FILE: samples, .jsonl with 'ids' or 'text' in each line, else plain text, samples separated by empty lines.
Exit status: 0 measured, or not more repetitive than the baseline; 1 more repetitive; 2 could not be measured; 3 too few prompts to tell.
END
}

help_log() {
  cat <<'END'
Usage: plumbline log FILE [--vocabulary N] [--from-checkpoint] [--loss COLUMN] [--pattern REGEX] [-o FILE.json] [--picture FILE.svg]
FILE: the log of a training run: lines of text, progress bars, a table or JSON (a trainer_state.json, an export of a tracker), also in
gzip or UTF-16.
Exit status: 0 nothing wrong is seen; 1 something is; 2 could not be judged; 3 what decides could not be assessed.
END
}

help_defects() {
  cat <<'END'
Usage: plumbline defects [NAME] [--spec NAME|FILE]
The catalogue of known mistakes, each a departure of the reference model, or all about one of them. `plumbline verify defect:NAME`
judges the reference with it, several joined by +. Without NAME also the honest variants, variant:NAME. --spec: which specification the
advice is on.
END
}

help_campaign() {
  cat <<'END'
Usage: plumbline campaign [NAME...] [--small-alone] [--no-diagnosis] [--jobs N] [--out DIR]
Every defect of the catalogue has to fail the suites and every honest variant to pass them: all on `tiny`, a tenth at full size. Says which
requirement sees what and how plainly, what the diagnosis names, and which requirement nothing can fail. NAME: a defect, or variant:NAME; what
is named runs at full size, too, unless --small-alone.
Exit status: 0 as it should be; 1 a defect passed, a variant failed or a requirement is idle; 2 could not be done.
END
}

help_report() {
  cat <<'END'
Usage: plumbline report render DOCUMENT [--out DIR] [--lang en|zh]    every rendering again from the document
       plumbline report merge DOCUMENT... --out DIR                   shards into one result, or candidates side by side
       plumbline report diff OLD NEW [-o FILE.md]                     what changed between two commits or two models
       plumbline report check DIR                                     is a bundle complete, untouched and consistent?
DOCUMENT: a bundle that verify wrote, or its result.json.
END
}

help_experiment() {
  cat <<'END'
Usage: plumbline experiment repeater [--scale small|full] [--out DIR] [--tokens FILE] [--device auto|cpu|cuda[:N]] [--workers N]
Trains models that differ in layers, key/value heads, training mask, initialisation and dropout, lets them write, and says which
of the differences makes them repeat themselves. small takes about ten minutes on two processors, full needs a GPU.
Stopped and called again, it goes on where it was. Exit status: 0 done; 2 could not be done.
END
}

help_play() {
  cat <<'END'
Usage: plumbline play FILE.h5
Answers the candidate protocol from a recording: what `plumbline verify FILE.h5` runs.
END
}

help_adapter() {
  cat <<'END'
Usage: plumbline adapter init FILE.py
       plumbline adapter check FILE.py|'exec: COMMAND' [--spec NAME|FILE] [--python PATH] [--timeout SECONDS]
init writes a commented adapter to fill in; check tries one alone: what it declares, what its mapping leaves over.
END
}

help_export() {
  cat <<'END'
Usage: plumbline export DIR [--spec NAME|FILE]
Writes the reference's own weights to DIR as a Hugging Face checkpoint.
END
}

help_test() {
  cat <<'END'
Usage: plumbline test [--long | --all] [PATTERN] [-- CTEST ARGUMENTS]
Builds everything and runs the project's own tests: without the long ones, only those (--long), or both (--all).
PATTERN: a regular expression for the names of the tests. CTEST_PARALLEL_LEVEL: how many at a time (2).
Fetches transformers 4 and 5 and other peers into .deps for the tests that compare with them.
END
}

help_lint() {
  cat <<'END'
Usage: plumbline lint [--base COMMIT] [--all] [--fix] [FILE...]
Looks at the project's own sources with clang-format, ruff, shellcheck, typos and mypy, of the versions in
cmake/requirements-lint.txt, and at their sizes: by default at what changed since the merge base with the main branch
(--base, or the environment variable PLUMBLINE_LINT_BASE, names another commit). --fix mends what can be.
END
}

help_bench() {
  cat <<'END'
Usage: plumbline bench [ARGUMENTS]
       plumbline bench --against transformers|python [ARGUMENTS]
Runs the benchmarks; ARGUMENTS are Google Benchmark's (--benchmark_filter=REGEX, ...). With --against transformers, ratios
to the eager PyTorch model of transformers 5 in the same run, with --against python those of repetition metrics to plain
Python; ARGUMENTS are then the comparison's own.
END
}

help_golden() {
  cat <<'END'
Usage: plumbline golden check|record|accept [ARGUMENTS]
       plumbline golden make --spec FILE --out DIR
check: the recorded hashes and every regenerated tensor agree. record: write new files beside the old ones (.new) and a
table of what changed. accept: take them. Neither record nor accept writes where CI is set.
make: golden tensors for a specification of your own, for `plumbline verify --spec FILE --golden DIR`.
END
}
