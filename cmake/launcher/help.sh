# shellcheck shell=bash
# What --help shows without installing or building anything.

help_main() {
  cat <<'END'
Usage: plumbline COMMAND [ARGUMENTS]
Judges whether a language model has the architecture it claims. The first run fetches what is missing and builds.

  verify [CANDIDATE]   judge a live model, a checkpoint, weights, a recording, the reference model or a defect
  inspect FILE.py:NAME show what is understood of a PyTorch model: read it before you believe a verdict
  record ADAPTER       judge a live model and keep its answers, to judge or compare them elsewhere
  compare ONE OTHER    compare two candidates: did a refactor change anything?
  sample CANDIDATE     let a candidate write text from prompts, greedy or sampled
  text FILE            measure how repetitive texts are
  log FILE             judge the loss curve of a training run
  experiment repeater  train small models to find out which difference makes a model repeat itself
  requirements [ID]    list the requirements, with their sources, tests and defects
  defects [NAME]       list the known mistakes that a failing model is compared with
  claims               check nine claims about MiniMind2-Small
  campaign [NAME...]   check that the suites fail every known mistake and pass every honest variant
  report ACTION        render, merge, diff or check the results of verify
  adapter ACTION       init: write an adapter for a live model; check: try it alone
  export DIR           write the reference's own weights as a Hugging Face checkpoint
  test [PATTERN]       run the project's own tests
  lint [FILE...]       check the project's own sources: layout, mistakes, spelling, types, sizes
  bench                run the benchmarks
  golden ACTION        check, record or accept the golden tensors; make some for your own specification
  COMMAND --help       more about one command

Exit status: 0 conforms, 1 does not conform, 2 could not be judged (or set up, or built), 3 incomplete.
Environment: PLUMBLINE_PYTHON            the Python (3.10 or newer) that .deps/python is made from
             CMAKE_PREFIX_PATH           folders with your own libraries; if one has LibTorch, none is fetched
             CMAKE_BUILD_PARALLEL_LEVEL  how many compilers run at a time
             CXX, CXXFLAGS, PIP_*        passed on to CMake and pip
END
}

help_verify() {
  cat <<'END'
Usage: plumbline verify [CANDIDATE] [--spec NAME|FILE] [--device auto|cpu|cuda[:N]] [--dtype f32|bf16] [--threads N]
                        [--only WHAT,...] [--golden DIR] [--name TEXT] [--out DIR] [--python PATH] [--timeout SECONDS]
                        [--seed N] [--longest N] [--no-diagnosis] [--shard I/N] [--waivers FILE] [--verbose]
CANDIDATE: a PyTorch model FILE.py:NAME, an adapter.py or 'exec: COMMAND', a recording FILE.h5, a folder with config.json and *.safetensors,
a FILE.pth (with --spec), or defect:NAME; without it, the built-in reference. --python: the interpreter that runs an adapter.
A bundle goes to DIR (out): report.html to read, result.json, and files that derive from it (JUnit XML, summary.md, SARIF, ...).
Exit status: 0 conforms; 1 does not conform; 2 could not be judged; 3 incomplete: an applicable must was not assessed.
END
}

help_inspect() {
  cat <<'END'
Usage: plumbline inspect FILE.py:NAME|ADAPTER.py [--spec NAME|FILE] [--python PATH] [--json]
Shows what is understood of a PyTorch model by following one pass: which parameter is what, which line makes each stage, its settings,
how it takes a mask, positions and a cache. Nothing is judged. --json: the same as data, with the mapping for an adapter.
Exit status: 0 the model was understood; 2 it was not: the line says what is missing.
END
}

help_claims() {
  cat <<'END'
Usage: plumbline claims
Confirms or refutes nine claims that a document makes about MiniMind2-Small, with exact figures. No model of yours is judged.
Exit status: 0 every claim is decided; 2 bad usage or broken data; 3 a claim could not be decided.
END
}

help_record() {
  cat <<'END'
Usage: plumbline record ADAPTER.py|'exec: COMMAND' -o FILE.h5 [OPTIONS AS FOR VERIFY]
Judges a live model and writes all its answers to FILE.h5, for `plumbline verify FILE.h5` and `plumbline compare FILE.h5 ...`.
Exit status: as for verify.
END
}

help_compare() {
  cat <<'END'
Usage: plumbline compare ONE OTHER [--spec NAME|FILE] [--device auto|cpu|cuda[:N]] [--dtype f32|bf16] [--threads N] [--out DIR]
                         [--seed N] [--longest N] [--python PATH] [--timeout SECONDS] [--verbose]
ONE, OTHER: candidates as for verify, the model before and after. Both get the same weights and the same inputs.
Exit status: 0 the same, bit for bit or within rounding (the verdict says which); 1 different; 2 could not be compared; 3 incomplete.
END
}

help_sample() {
  cat <<'END'
Usage: plumbline sample CANDIDATE --prompts FILE -o SAMPLES.jsonl [--spec NAME|FILE] [--tokenizer tokenizer.json] [--temperature T]
                        [--top-k K] [--top-p P] [--repetition-penalty R] [--seed N] [--tokens N] [--end ID] [--samples N] [--batch N]
                        [--device auto|cpu|cuda[:N]] [--dtype f32|bf16] [--threads N] [--python PATH] [--timeout SECONDS]
CANDIDATE: as for verify; a checkpoint runs on Plumbline's engine. FILE: .jsonl with 'ids' or 'prompt' in each line, or text with one
prompt a line. The same seed gives the same tokens at any batch size. --temperature 0 is greedy.
Exit status: 0 written; 2 could not be sampled.
END
}

help_text() {
  cat <<'END'
Usage: plumbline text FILE [--baseline FILE] [--unit ids|words|characters] [--vocabulary N] [--sentence-ends ID,...] [--seed N]
                      [-o FILE.json] [--each FILE.jsonl] [--picture FILE.svg]
FILE: samples, as .jsonl with 'ids' or 'text' in each line, or as plain text with empty lines between samples.
Exit status: 0 measured, or not more repetitive than the baseline; 1 more repetitive; 2 could not be measured; 3 too few prompts to tell.
END
}

help_log() {
  cat <<'END'
Usage: plumbline log FILE [--vocabulary N] [--from-checkpoint] [--loss COLUMN] [--pattern REGEX] [-o FILE.json] [--picture FILE.svg]
FILE: the log of a training run: lines of text, progress bars, a table or JSON (a trainer_state.json, an export of a tracker), also in
gzip or UTF-16.
Exit status: 0 nothing looks wrong; 1 something is wrong; 2 could not be judged; 3 a deciding question could not be assessed.
END
}

help_defects() {
  cat <<'END'
Usage: plumbline defects [NAME] [--spec NAME|FILE]
Lists the known mistakes and the honest variants, or tells all about one mistake. `plumbline verify defect:NAME` judges the reference
with that mistake, variant:NAME with that variant; + joins several mistakes. --spec: the specification whose figures the advice uses.
Exit status: 0 shown; 2 no such defect.
END
}

help_requirements() {
  cat <<'END'
Usage: plumbline requirements [ID]
Lists the requirements, with their tests and the defects that fail them, or tells all about one.
Exit status: 0 shown, and each requirement has a test and a defect, or says why not; 1 one has neither; 2 no such requirement.
END
}

help_campaign() {
  cat <<'END'
Usage: plumbline campaign [NAME...] [--small-alone] [--no-diagnosis] [--seed N] [--jobs N] [--out DIR]
Checks that every known defect fails the suites and every honest variant passes them: all on `tiny`, a tenth at full size. Reports which
requirement sees which defect and how clearly, what the diagnosis names, and which requirement no defect fails. NAME: a defect, or
variant:NAME; it runs at full size, too, unless --small-alone.
Exit status: 0 all as expected; 1 a defect passed, a variant failed or no defect fails some requirement; 2 could not be done.
END
}

help_report() {
  cat <<'END'
Usage: plumbline report render DOCUMENT [--out DIR] [--lang en|zh]    write every report again from the document
       plumbline report merge DOCUMENT... --out DIR                   merge shards into one result, or put candidates side by side
       plumbline report diff OLD NEW [-o FILE.md]                     show what changed between two commits or two models
       plumbline report check DIR                                     check that a bundle is complete, unedited and consistent
DOCUMENT: a bundle that verify wrote, or its result.json. Each action's --help tells its exit status.
END
}

help_experiment() {
  cat <<'END'
Usage: plumbline experiment repeater [--scale small|full] [--out DIR] [--tokens FILE] [--device auto|cpu|cuda[:N]] [--workers N]
Trains models that differ in layers, key/value heads, training mask, initialisation and dropout, lets them write, and reports which
difference makes them repeat themselves. small takes about ten minutes on two processors; full needs a GPU.
An interrupted run continues when it is started again. Exit status: 0 done; 2 could not be done.
END
}

help_play() {
  cat <<'END'
Usage: plumbline play FILE.h5
Answers the candidate protocol from a recording; `plumbline verify FILE.h5` starts it.
Exit status: 0 all requests are answered; 2 a request is not JSON.
END
}

help_adapter() {
  cat <<'END'
Usage: plumbline adapter init FILE.py
       plumbline adapter check FILE.py|'exec: COMMAND' [--spec NAME|FILE] [--device auto|cpu|cuda[:N]] [--dtype f32|bf16]
                               [--threads N] [--python PATH] [--timeout SECONDS]
init writes a commented adapter to fill in. check tries an adapter alone and shows what it declares and what its mapping leaves over.
Exit status: 0 written, or the adapter works; 2 could not be written, or the adapter does not work.
END
}

help_export() {
  cat <<'END'
Usage: plumbline export DIR [--spec NAME|FILE]
Writes the reference's own weights to DIR as a Hugging Face checkpoint.
Exit status: 0 written; 2 could not be written.
END
}

help_test() {
  cat <<'END'
Usage: plumbline test [--long | --all] [PATTERN] [-- CTEST ARGUMENTS]
Builds everything and runs the project's own tests: without the long ones, only those (--long), or all (--all).
PATTERN: a regular expression for the names of the tests. CTEST_PARALLEL_LEVEL: how many run at a time (2).
Fetches pytest into .deps, and transformers 4 and 5 and other packages for the tests that compare with them.
END
}

help_lint() {
  cat <<'END'
Usage: plumbline lint [--base COMMIT] [--all] [--fix] [FILE...]
Checks the project's own sources with clang-format, ruff, shellcheck, typos and mypy, in the versions of
cmake/requirements-lint.txt, and checks their sizes. By default it checks what changed since the merge base with the main
branch; --base or the environment variable PLUMBLINE_LINT_BASE names another commit. --fix mends what it can.
END
}

help_bench() {
  cat <<'END'
Usage: plumbline bench [ARGUMENTS]
       plumbline bench --against transformers|python [ARGUMENTS]
Runs the benchmarks; ARGUMENTS are Google Benchmark's (--benchmark_filter=REGEX, ...). --against transformers prints ratios
to the eager PyTorch model of transformers 5 in the same run; --against python prints ratios of the repetition metrics to
plain Python. ARGUMENTS are then those of the comparison.
END
}

help_golden() {
  cat <<'END'
Usage: plumbline golden check|record|accept [ARGUMENTS]
       plumbline golden make --spec FILE --out DIR
check: compare the recorded hashes and every regenerated tensor. record: write new files beside the old ones (.new) and a
table of what changed. accept: replace the old files by the .new ones. Neither record nor accept writes where CI is set.
make: write golden tensors for your own specification, for `plumbline verify --spec FILE --golden DIR`.
END
}
