// The command line.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "harness/campaigns.hpp"
#include "harness/candidate/checkpoint.hpp"
#include "harness/candidate/engine.hpp"
#include "harness/candidate/live.hpp"
#include "harness/candidate/reference.hpp"
#include "harness/candidate/variants.hpp"
#include "harness/commit.hpp"
#include "harness/defect_commands.hpp"
#include "harness/model/device.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/experiments.hpp"
#include "harness/report_commands.hpp"
#include "harness/requirement_commands.hpp"
#include "harness/sampling.hpp"
#include "harness/session.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "harness/system/processors.hpp"
#include "harness/text_commands.hpp"
#include "reports/bundle.hpp"
#include "reports/merge.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

constexpr int kCannotJudge = 2;
constexpr std::uint64_t kMostOfRecording = 8ull << 30;  // bytes of memory for who reads it

constexpr const char* kStatusHelp =
    "Exit status: 0 conforms: every applicable must was assessed and passed.\n"
    "             1 does not conform: at least one failed.\n"
    "             2 could not be judged: bad usage, unreadable or impossible input, broken evidence.\n"
    "             3 incomplete: nothing failed, but an applicable must was not assessed (so with --only).";

constexpr const char* kCompareHelp =
    "Both get the same weights (those of the one that cannot be given any, if there is such) and the same "
    "tokens.\n"
    "Exit status: 0 the same, bit for bit or within rounding, which the verdict says.\n"
    "             1 not the same.\n"
    "             2 could not be compared: bad usage, unreadable or impossible input, broken evidence.\n"
    "             3 incomplete: no difference was found, but a comparison that both declare could not be "
    "made.";

// OpenMP's threads spin while they wait for each other. Where other programs want the same cores, each wait
// then costs a time slice: measured here, a verification took 55 s instead of 10 s beside one busy neighbour.
// Not to spin at all costs a third where nobody is near (19.3 s against 13.2 s), so they spin for a moment.
// The library reads its settings when it is loaded, so the program starts itself anew with them; settings of
// the user's own stay.
void wait_without_spinning(char** values) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 0);
  setenv("GOMP_SPINCOUNT", "5000", 0);
  execv("/proc/self/exe", values);  // where that is not to be had, the program goes on as it is
}

// Where fixtures/ and golden/ are: beside an installed program, or in the tree it was built from.
fs::path data_directory() {
  std::error_code ignored;
  const auto program = fs::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / PLUMBLINE_DATADIR;
  if (!program.empty() && fs::is_directory(installed / "fixtures", ignored)) return installed;
  if (fs::is_directory(fs::path(PLUMBLINE_SOURCE_DIR) / "fixtures", ignored)) return PLUMBLINE_SOURCE_DIR;
  throw InputError(fmt::format("neither {} nor {} holds Plumbline's fixtures; install it again",
                               installed.string(), PLUMBLINE_SOURCE_DIR));
}

fs::path script_directory(const fs::path& data) {
  std::error_code ignored;
  const auto in_tree = data / "harness" / "python";
  return fs::is_directory(in_tree, ignored) ? in_tree : data / "python";
}

struct Arguments {
  std::string candidate = "reference";
  std::string name;  // what results call it; empty: as it was typed
  std::string specification = "minimind2-small";
  std::string device = "auto";
  std::string dtype = "f32";
  int threads = 0;
  std::vector<std::string> only, left_out;
  bool no_diagnosis = false;
  std::string out = "out";
  std::string golden;   // a folder of golden tensors; empty: our own
  std::string shard;    // "2/4"; empty: all of it
  std::string waivers;  // a file; empty: none
  std::string python;
  double timeout = 120;
  std::shared_ptr<RecordingWriter> recording;  // of what a live model answers; null: none is made
};

// The interpreter of the user's own environment: where their model runs.
std::string users_python(const Arguments& arguments) {
  if (!arguments.python.empty()) return arguments.python;
  for (const auto* environment : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char* prefix = std::getenv(environment); prefix != nullptr && *prefix != '\0')
      return fmt::format("{}/bin/python", prefix);
  return "python3";
}

bool is_recording(const std::string& name) {
  return name.ends_with(".h5");
}

bool is_program(const std::string& name) {
  return name.starts_with("exec:") || name.ends_with(".py");
}

LiveOptions live_options(const Arguments& arguments, const fs::path& data, at::ScalarType type,
                         at::Device device) {
  const auto& name = arguments.candidate;
  LiveOptions options;
  options.name = arguments.name.empty() ? name : arguments.name;
  options.type = type;
  options.device = device;
  options.threads = at::get_num_threads();
  options.limits.time = std::chrono::milliseconds(static_cast<std::int64_t>(arguments.timeout * 1000));
  options.limits.resident_bytes = most_tensor_bytes();
  options.environment = {{"OMP_NUM_THREADS", std::to_string(options.threads)}};
  options.recording = arguments.recording;
  if (is_recording(name)) {
    options.plays_recording = true;
    options.note = "answers come from a recording: no code of the model is run";
    options.limits.resident_bytes = std::min(options.limits.resident_bytes, kMostOfRecording);
    options.sha256 = sha256_of_file(name);
    options.command = {fs::read_symlink("/proc/self/exe").string(), "play", fs::absolute(name).string()};
  } else if (name.starts_with("exec:")) {
    options.command = {"/bin/sh", "-c", name.substr(5)};
  } else {
    options.sha256 = sha256_of_file(name);
    const char* others = std::getenv("PYTHONPATH");
    const auto ours = script_directory(data).string();
    options.command = {users_python(arguments), "-m", "plumbline.serve", fs::absolute(name).string()};
    options.environment.emplace_back(
        "PYTHONPATH", others == nullptr || *others == '\0' ? ours : fmt::format("{}:{}", ours, others));
  }
  return options;
}

std::unique_ptr<Candidate> open_candidate(const Arguments& arguments, const Specification& specification,
                                          const fs::path& data, at::ScalarType type, at::Device device) {
  const auto& name = arguments.candidate;
  if (name == "reference") return make_reference(name, {specification, {}}, type, device);
  if (name == "reference:fast") return make_engine(name, specification, type, device);
  if (name.starts_with("defect:"))
    return make_reference(name, depart(specification, name.substr(7)), type, device);
  if (name.starts_with("variant:")) return make_variant(name.substr(8), specification, type, device);
  if (name.starts_with("exec:")) return open_live(live_options(arguments, data, type, device), specification);
  std::error_code ignored;
  if (!fs::exists(name, ignored))
    throw InputError(fmt::format(
        "{}: no such file or directory; expected a model's adapter (.py), 'exec: COMMAND', a "
        "recording (.h5), a "
        "checkpoint directory, a .safetensors or .pth file, 'reference', 'defect:NAME' or 'variant:NAME'",
        printable(name)));
  if (is_program(name) || is_recording(name))
    return open_live(live_options(arguments, data, type, device), specification);
  return open_checkpoint(name, PLUMBLINE_PYTHON, script_directory(data).string());
}

// What a run needs before it opens its candidate.
struct Prepared {
  fs::path data;
  Specification specification;
  at::Device device;
  at::ScalarType type;
};

Prepared prepare(const Arguments& arguments) {
  const auto data = data_directory();
  Prepared prepared{data, find_specification(arguments.specification, data / "fixtures" / "specifications"),
                    parse_device(arguments.device), arguments.dtype == "bf16" ? at::kBFloat16 : at::kFloat};
  if (arguments.threads > 0) at::set_num_threads(arguments.threads);
  return prepared;
}

// Of what has files of its own.
std::optional<reports::Commit> commit_of_candidate(const Arguments& arguments) {
  std::error_code ignored;
  return fs::exists(arguments.candidate, ignored) ? commit_of(arguments.candidate) : std::nullopt;
}

Circumstances circumstances_of(const Arguments& arguments, const Prepared& prepared,
                               const std::string& command) {
  require_writable(arguments.out, "--out");
  reports::require_room_for_bundle(arguments.out);
  return {prepared.specification, prepared.data,     arguments.out, device_name(prepared.device),
          arguments.dtype,        PLUMBLINE_VERSION, command,       commit_of_candidate(arguments)};
}

int run_verify(const Arguments& arguments, const std::string& command) {
  const auto prepared = prepare(arguments);
  Verification verification{circumstances_of(arguments, prepared, command),
                            nullptr,
                            arguments.only,
                            arguments.recording != nullptr,
                            arguments.golden,
                            !arguments.no_diagnosis,
                            arguments.left_out,
                            {},
                            arguments.waivers};
  if (!arguments.shard.empty()) verification.shard = reports::parse_shard(arguments.shard);
  verification.candidate =
      open_candidate(arguments, prepared.specification, prepared.data, prepared.type, prepared.device);
  return verify(std::move(verification));
}

int run_compare(Arguments arguments, const std::string& one, const std::string& other,
                const std::string& command) {
  const auto prepared = prepare(arguments);
  const auto circumstances = circumstances_of(arguments, prepared, command);
  const auto open = [&](const std::string& name) {
    arguments.candidate = name;
    return open_candidate(arguments, prepared.specification, prepared.data, prepared.type, prepared.device);
  };
  auto first = open(one);
  auto second = open(other);
  return compare(circumstances, std::move(first), std::move(second));
}

int run_record(Arguments arguments, const std::string& file, const std::string& command) {
  if (!is_program(arguments.candidate))
    throw InputError(
        fmt::format("{}: expected a live model: an adapter (.py) or 'exec: COMMAND'; anything else is "
                    "judged and compared from its own files",
                    printable(arguments.candidate)));
  if (!is_recording(file))
    throw InputError(fmt::format("{}: expected a name that ends in .h5", printable(file)));
  arguments.recording = std::make_shared<RecordingWriter>(file);
  const auto status = run_verify(arguments, command);
  fmt::print("   {}\n", arguments.recording->commit());
  return status;
}

int run_adapter_init(const std::string& file) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(file, ignored)))
    throw InputError(fmt::format("{}: is there already; name a new file", printable(file)));
  if (!file.ends_with(".py"))
    throw InputError(fmt::format("{}: expected a name that ends in .py", printable(file)));
  write_atomically(file, read_text(script_directory(data_directory()) / "adapter_template.py", 1 << 20));
  fmt::print("{0}: written; fill it in, then `plumbline adapter check {0}`\n", file);
  return 0;
}

int run_adapter_check(const Arguments& arguments) {
  const auto [data, specification, device, type] = prepare(arguments);
  if (!is_program(arguments.candidate))
    throw InputError(
        fmt::format("{}: expected an adapter (.py) or 'exec: COMMAND'", printable(arguments.candidate)));
  for (const auto& line : try_adapter(live_options(arguments, data, type, device), specification))
    fmt::print("{}\n", line);
  return 0;
}

// Weights without code are run by the inference engine.
std::unique_ptr<Candidate> with_code(std::unique_ptr<Candidate> candidate, const Prepared& prepared) {
  const bool ours = candidate->describe().kind == "reference";
  if (candidate->capabilities().contains("code") && !ours) return candidate;
  auto engine =
      ours ? std::move(candidate)
           : make_engine(candidate->describe().name, prepared.specification, prepared.type, prepared.device);
  try {
    engine->load(ours ? discriminating_weights(prepared.specification.parameters(), 1)
                      : candidate->weights());
  } catch (const NotShown& why) {
    throw InputError(fmt::format("{}: is not {}: {}; `plumbline verify` tells more, --spec names another",
                                 engine->describe().name, prepared.specification.name, why.what()));
  }
  return engine;
}

int run_sample(const Arguments& arguments, SamplingRun run) {
  const auto prepared = prepare(arguments);
  require_output(run.output, "--output", {run.prompts, arguments.candidate, run.tokenizer});
  run.python = PLUMBLINE_PYTHON;
  run.scripts = script_directory(prepared.data);
  auto candidate =
      open_candidate(arguments, prepared.specification, prepared.data, prepared.type, prepared.device);
  return sample(std::move(run), with_code(std::move(candidate), prepared), prepared.specification);
}

int run_export(const std::string& specification, const std::string& directory) {
  const auto found = find_specification(specification, data_directory() / "fixtures" / "specifications");
  export_checkpoint(found, directory);
  fmt::print("{}: {} parameters of {} written as config.json and model.safetensors\n", directory,
             found.parameter_count(), found.title);
  return 0;
}

// As a shell would read it back.
std::string command_line(int count, char** values) {
  std::vector<std::string> words{"plumbline"};
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    const bool plain =
        !word.empty() &&
        word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:+=,") ==
            std::string::npos;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    words.push_back(plain ? word : quoted + "'");
  }
  return fmt::format("{}", fmt::join(words, " "));
}

int run(int count, char** values) {
  CLI::App app{
      "Plumbline: is this model the architecture it claims to be, and if not, where does it first go wrong?",
      "plumbline"};
  app.require_subcommand(1);
  app.set_version_flag("--version", PLUMBLINE_VERSION);
  app.footer(kStatusHelp);

  Arguments arguments;
  const auto add_running_options = [&](CLI::App& command) {
    command
        .add_option("--spec", arguments.specification,
                    "what it claims to be: NAME of fixtures/specifications, or a FILE")
        ->capture_default_str();
    command.add_option("--device", arguments.device, "where code runs: auto, cpu, cuda or cuda:N")
        ->capture_default_str();
    command.add_option("--dtype", arguments.dtype, "type that code runs in")
        ->check(CLI::IsMember({"f32", "bf16"}))
        ->capture_default_str();
    command.add_option("--threads", arguments.threads, "CPU threads; 0 leaves it to LibTorch")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
    command.add_option(
        "--python", arguments.python,
        "the interpreter that runs an adapter (default: that of the active environment, else python3)");
    command.add_option("--timeout", arguments.timeout, "seconds that a live model may take for one answer")
        ->check(CLI::Range(0.1, 86400.0))
        ->capture_default_str();
  };
  auto* verifying = app.add_subcommand("verify", "Judge a candidate against a specification");
  verifying
      ->add_option(
          "candidate", arguments.candidate,
          "a live model's adapter (.py), 'exec: COMMAND' (a program that answers the protocol), a recording "
          "(.h5), a Hugging "
          "Face "
          "checkpoint directory, a .safetensors or .pth file, reference (the built-in model), reference:fast "
          "(its inference engine), defect:NAME, or variant:NAME (`plumbline defects` lists both)")
      ->capture_default_str();
  add_running_options(*verifying);
  verifying
      ->add_option(
          "--only", arguments.only,
          "look at these chapters alone (numbers or names, separated by commas: configuration, parameters, "
          "attention, cache, rope, blocks, modes, numerics, training, text, claims); the verdict is then "
          "incomplete")
      ->delimiter(',');
  verifying
      ->add_option("--shard", arguments.shard,
                   "I/N: look at the I-th of N parts of the requirements; `plumbline report merge` makes one "
                   "result of all N")
      ->check([](const std::string& given) { return given.empty() ? "expected I/N, as in 2/4" : ""; })
      ->excludes("--only");
  verifying->add_option("--waivers", arguments.waivers,
                        "a file of failures that somebody answers for until a day (README: Reports)");
  verifying
      ->add_option("--leave-out", arguments.left_out,
                   "a defect that the diagnosis is to know nothing of (to measure how it does then)")
      ->group("");
  verifying
      ->add_option("--out", arguments.out,
                   "directory for the bundle: report.html, result.json and what derives from it")
      ->capture_default_str();
  verifying->footer(kStatusHelp);

  auto* recording = app.add_subcommand(
      "record", "Judge a live model and keep all that it answered, to be judged again elsewhere");
  recording->add_option("candidate", arguments.candidate, "an adapter (.py), or 'exec: COMMAND'")->required();
  std::string recorded;
  recording->add_option("-o,--output", recorded, "the recording, an .h5 file")->required();
  add_running_options(*recording);
  recording
      ->add_option("--out", arguments.out,
                   "directory for the bundle: report.html, result.json and what derives from it")
      ->capture_default_str();
  recording->footer(kStatusHelp);
  for (auto* command : {verifying, recording}) {
    command->add_flag(
        "--no-diagnosis", arguments.no_diagnosis,
        "of a model that fails, do not look for known defects that explain it (20 s at full size, or more)");
    command->add_option("--name", arguments.name,
                        "what results call a live model (default: as it is typed here)");
    command->add_option("--golden", arguments.golden,
                        "a folder of golden tensors for a specification of your own (plumbline golden make)");
  }

  std::string compared_one, compared_other;
  auto* comparing = app.add_subcommand(
      "compare", "Ask two candidates the same: did a refactor change anything? Neither of them is judged");
  comparing->add_option("one", compared_one, "a candidate, as for verify: what it was before")->required();
  comparing->add_option("other", compared_other, "a candidate, as for verify: what it is now")->required();
  add_running_options(*comparing);
  comparing
      ->add_option("--out", arguments.out,
                   "directory for the bundle: report.html, result.json and what derives from it")
      ->capture_default_str();
  comparing->footer(kCompareHelp);

  std::string played;
  auto* playing = app.add_subcommand("play", "Answer the candidate protocol from a recording");
  playing->add_option("recording", played, "an .h5 file")->required();

  auto* adapting = app.add_subcommand("adapter", "Write or try an adapter, what connects a live model");
  adapting->require_subcommand(1);
  std::string adapter_file;
  auto* beginning = adapting->add_subcommand("init", "Write a commented adapter to fill in");
  beginning->add_option("file", adapter_file, "a new .py file")->required();
  auto* trying = adapting->add_subcommand(
      "check", "Try an adapter alone: what it declares, what its mapping leaves over; proposes a mapping");
  trying->add_option("adapter", arguments.candidate, "an adapter (.py), or 'exec: COMMAND'")->required();
  add_running_options(*trying);

  SamplingRun sampled;
  auto* sampling = app.add_subcommand("sample", "Let a candidate write: greedy or sampled text, seeded");
  sampling
      ->add_option("candidate", arguments.candidate, "as for verify; weights without code run on our engine")
      ->required();
  sampling
      ->add_option("--prompts", sampled.prompts,
                   "a file: .jsonl with 'ids' or 'prompt' in each line, else a prompt a line")
      ->required();
  sampling->add_option("-o,--output", sampled.output, "the samples, a .jsonl file for `plumbline text`")
      ->required();
  sampling->add_option("--tokenizer", sampled.tokenizer,
                       "the model's tokenizer.json, for prompts that are text");
  sampling->footer(
      "Exit status: 0 written; 2 could not be sampled: bad usage, unreadable input, a model that fails.");
  auto& drawn = sampled.options;
  sampling->add_option("--temperature", drawn.sampling.temperature, "0: greedy")->capture_default_str();
  sampling->add_option("--top-k", drawn.sampling.top_k, "of the k largest logits; 0: of all")
      ->capture_default_str();
  sampling
      ->add_option("--top-p", drawn.sampling.top_p,
                   "of the fewest tokens that have this probability together")
      ->capture_default_str();
  sampling->add_option("--repetition-penalty", drawn.sampling.repetition_penalty, "1: none")
      ->capture_default_str();
  sampling->add_option("--seed", drawn.seed, "the same seed, the same tokens, whatever the batch")
      ->capture_default_str();
  sampling->add_option("--tokens", drawn.most_tokens, "of each sample at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sampling->add_option("--end", drawn.end, "the id of the token that ends a text (default: none does)");
  sampling->add_option("--samples", drawn.samples, "of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sampling->add_option("--batch", drawn.batch, "sequences at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_running_options(*sampling);

  std::function<int(const Circumstance&)> reading;
  add_text_commands(app, reading);
  add_experiments(app, reading);
  add_requirements(app, reading);
  add_defects(app, reading);
  add_campaign(app, reading);
  add_report(app, reading);

  std::string export_specification = "minimind2-small", export_directory;
  auto* exporting =
      app.add_subcommand("export", "Write the reference's own weights as a Hugging Face checkpoint");
  exporting->add_option("directory", export_directory, "a new or empty directory")->required();
  exporting->add_option("--spec", export_specification, "NAME or FILE of the specification")
      ->capture_default_str();

  if (count > 1 && values[1][0] != '-' &&
      app.get_subcommands([&](const CLI::App* known) { return known->get_name() == values[1]; }).empty())
    throw InputError(fmt::format("unknown command '{}'; see plumbline --help", printable(values[1], 60)));
  try {
    app.parse(count, values);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "plumbline: {}; see plumbline --help\n", printable(error.what(), 2000));
    return kCannotJudge;
  }
  if (*beginning) return run_adapter_init(adapter_file);
  if (*trying) return run_adapter_check(arguments);
  if (*recording) return run_record(arguments, recorded, command_line(count, values));
  if (*comparing) return run_compare(arguments, compared_one, compared_other, command_line(count, values));
  if (*playing) {
    play_recording(played);
    return 0;
  }
  if (*sampling) return run_sample(arguments, sampled);
  if (reading) return reading({command_line(count, values), PLUMBLINE_VERSION, data_directory()});
  if (*exporting) return run_export(export_specification, export_directory);
  return run_verify(arguments, command_line(count, values));
}

}  // namespace
}  // namespace plumbline

int main(int count, char** values) {
  plumbline::wait_without_spinning(values);
  plumbline::clean_up_when_interrupted();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may grow no further is an error like a full disk
  std::string reason;
  try {
    const auto status = plumbline::run(count, values);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    reason = "standard output cannot be written to, so what was to be said is lost";
  } catch (const plumbline::InputError& error) {
    reason = error.what();
  } catch (const c10::Error& error) {
    reason = std::string("internal error: ") + error.what_without_backtrace();
  } catch (const std::bad_alloc&) {
    reason = "out of memory";
  } catch (const std::exception& error) {
    reason = std::string("internal error: ") + error.what();
  }
  fmt::print(stderr, "plumbline: {}\n", plumbline::printable(reason.substr(0, reason.find('\n')), 8000));
  return plumbline::kCannotJudge;
}
