#include "harness/cli/commands.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "harness/candidate/checkpoint.hpp"
#include "harness/candidate/fast_reference.hpp"
#include "harness/candidate/live.hpp"
#include "harness/candidate/reference.hpp"
#include "harness/candidate/variants.hpp"
#include "harness/cli/commit.hpp"
#include "harness/cli/defects_command.hpp"
#include "harness/cli/report_command.hpp"
#include "harness/cli/requirements_command.hpp"
#include "harness/cli/sample_command.hpp"
#include "harness/cli/session.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/model/device.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"
#include "harness/system/processors.hpp"
#include "reports/bundle.hpp"
#include "reports/merge.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostOfRecording = 8ull << 30;  // bytes of memory for who reads it

constexpr const char* kCompareHelp =
    "Both get the same weights (those of the one that cannot be given any, if there is such) and the same "
    "tokens.\n"
    "Exit status: 0 the same, bit for bit or within rounding, which the verdict says.\n"
    "             1 not the same.\n"
    "             2 could not be compared: bad usage, unreadable or impossible input, broken evidence.\n"
    "             3 incomplete: no difference was found, but a comparison that both declare could not be "
    "made.";

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

// A command may end in the name of a recording that it plays.
bool is_command(const std::string& name) {
  return name.starts_with("exec:");
}

bool is_recording(const std::string& name) {
  return name.ends_with(".h5") && !is_command(name);
}

bool is_program(const std::string& name) {
  return is_command(name) || name.ends_with(".py");
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
  } else if (is_command(name)) {
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
  if (is_command(name)) return open_live(live_options(arguments, data, type, device), specification);
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

Prepared prepare(const Arguments& arguments, const fs::path& data) {
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
                               const Circumstance& circumstance) {
  require_writable(arguments.out, "--out");
  reports::require_room_for_bundle(arguments.out);
  return {prepared.specification, prepared.data,        arguments.out,        device_name(prepared.device),
          arguments.dtype,        circumstance.version, circumstance.command, commit_of_candidate(arguments)};
}

int run_verify(const Arguments& arguments, const Circumstance& circumstance) {
  const auto prepared = prepare(arguments, circumstance.data);
  Verification verification{circumstances_of(arguments, prepared, circumstance),
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

int run_claims(const fs::path& data) {
  const auto prepared = prepare({}, data);
  const auto reference = make_reference("reference", {prepared.specification, {}}, prepared.type, at::kCPU);
  return claims(prepared.specification, *reference, data);
}

int run_compare(Arguments arguments, const std::string& one, const std::string& other,
                const Circumstance& circumstance) {
  const auto prepared = prepare(arguments, circumstance.data);
  const auto circumstances = circumstances_of(arguments, prepared, circumstance);
  const auto open = [&](const std::string& name) {
    arguments.candidate = name;
    return open_candidate(arguments, prepared.specification, prepared.data, prepared.type, prepared.device);
  };
  auto first = open(one);
  auto second = open(other);
  return compare(circumstances, std::move(first), std::move(second));
}

int run_record(Arguments arguments, const std::string& file, const Circumstance& circumstance) {
  if (!is_program(arguments.candidate))
    throw InputError(
        fmt::format("{}: expected a live model: an adapter (.py) or 'exec: COMMAND'; anything else is "
                    "judged and compared from its own files",
                    printable(arguments.candidate)));
  if (!is_recording(file))
    throw InputError(fmt::format("{}: expected a name that ends in .h5", printable(file)));
  arguments.recording = std::make_shared<RecordingWriter>(file);
  const auto status = run_verify(arguments, circumstance);
  print_out("   {}\n", arguments.recording->commit());
  return status;
}

int run_adapter_init(const std::string& file, const fs::path& data) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(file, ignored)))
    throw InputError(fmt::format("{}: is there already; name a new file", printable(file)));
  if (!file.ends_with(".py"))
    throw InputError(fmt::format("{}: expected a name that ends in .py", printable(file)));
  write_atomically(file, read_text(script_directory(data) / "adapter_template.py", 1 << 20));
  print_out("{0}: written; fill it in, then `plumbline adapter check {0}`\n", file);
  return 0;
}

int run_adapter_check(const Arguments& arguments, const Circumstance& circumstance) {
  const auto [data, specification, device, type] = prepare(arguments, circumstance.data);
  if (!is_program(arguments.candidate))
    throw InputError(
        fmt::format("{}: expected an adapter (.py) or 'exec: COMMAND'", printable(arguments.candidate)));
  for (const auto& line : try_adapter(live_options(arguments, data, type, device), specification))
    print_out("{}\n", line);
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

int run_sample(const Arguments& arguments, SamplingRun run, const Circumstance& circumstance) {
  const auto prepared = prepare(arguments, circumstance.data);
  require_output(run.output, "--output", {run.prompts, arguments.candidate, run.tokenizer});
  run.python = PLUMBLINE_PYTHON;
  run.scripts = script_directory(prepared.data);
  auto candidate =
      open_candidate(arguments, prepared.specification, prepared.data, prepared.type, prepared.device);
  return sample(std::move(run), with_code(std::move(candidate), prepared), prepared.specification);
}

int run_export(const std::string& specification, const std::string& directory, const fs::path& data) {
  const auto found = find_specification(specification, data / "fixtures" / "specifications");
  export_checkpoint(found, directory);
  print_out("{}: {} parameters of {} written as config.json and model.safetensors\n", directory,
            found.parameter_count(), found.title);
  return 0;
}

void add_running_options(Command& command, Arguments& arguments) {
  command
      .option("--spec", arguments.specification,
              "what it claims to be: NAME of fixtures/specifications, or a FILE")
      .shows_default();
  command.option("--device", arguments.device, "where code runs: auto, cpu, cuda or cuda:N").shows_default();
  command.option("--dtype", arguments.dtype, "type that code runs in")
      .one_of({"f32", "bf16"})
      .shows_default();
  command.option("--threads", arguments.threads, "CPU threads; 0 leaves it to LibTorch")
      .between(0, 1024)
      .shows_default();
  command.option(
      "--python", arguments.python,
      "the interpreter that runs an adapter (default: that of the active environment, else python3)");
  command.option("--timeout", arguments.timeout, "seconds that a live model may take for one answer")
      .between(0.1, 86400.0)
      .shows_default();
}

void add_bundle_option(Command& command, Arguments& arguments) {
  command
      .option("--out", arguments.out,
              "directory for the bundle: report.html, result.json and what derives from it")
      .shows_default();
}

void add_judging_options(Command& command, Arguments& arguments) {
  command.flag(
      "--no-diagnosis", arguments.no_diagnosis,
      "of a model that fails, do not look for known defects that explain it (20 s at full size, or more)");
  command.option("--name", arguments.name, "what results call a live model (default: as it is typed here)");
  command.option("--golden", arguments.golden,
                 "a folder of golden tensors for a specification of your own (plumbline golden make)");
}

void add_verify(Command& all) {
  auto command = all.command("verify", "Judge a candidate against a specification");
  const auto given = std::make_shared<Arguments>();
  command
      .option(
          "candidate", given->candidate,
          "a live model's adapter (.py), 'exec: COMMAND' (a program that answers the protocol), a recording "
          "(.h5), a Hugging Face checkpoint directory, a .safetensors or .pth file, reference (the built-in "
          "model), reference:fast (its inference engine), defect:NAME, or variant:NAME (`plumbline defects` "
          "lists both)")
      .shows_default();
  add_running_options(command, *given);
  command
      .option(
          "--only", given->only,
          "look at these chapters alone (numbers or names, separated by commas: configuration, parameters, "
          "attention, cache, rope, blocks, modes, numerics, training, text, claims); the verdict is then "
          "incomplete")
      .separated_by_commas();
  command
      .option(
          "--shard", given->shard,
          "I/N: look at the I-th of N parts of the requirements; `plumbline report merge` makes one result "
          "of all N")
      .not_empty("expected I/N, as in 2/4")
      .excludes("--only");
  command.option("--waivers", given->waivers,
                 "a file of failures that somebody answers for until a day (README: Reports)");
  command
      .option("--leave-out", given->left_out,
              "a defect that the diagnosis is to know nothing of (to measure how it does then)")
      .hidden();
  add_bundle_option(command, *given);
  add_judging_options(command, *given);
  command.footer(status_help);
  command.runs([given](const Circumstance& circumstance) { return run_verify(*given, circumstance); });
}

void add_record(Command& all) {
  auto command =
      all.command("record", "Judge a live model and keep all that it answered, to be judged again elsewhere");
  const auto given = std::make_shared<Arguments>();
  const auto file = std::make_shared<std::string>();
  command.option("candidate", given->candidate, "an adapter (.py), or 'exec: COMMAND'").required();
  command.option("-o,--output", *file, "the recording, an .h5 file").required();
  add_running_options(command, *given);
  add_bundle_option(command, *given);
  add_judging_options(command, *given);
  command.footer(status_help);
  command.runs(
      [given, file](const Circumstance& circumstance) { return run_record(*given, *file, circumstance); });
}

void add_compare(Command& all) {
  auto command = all.command(
      "compare", "Ask two candidates the same: did a refactor change anything? Neither of them is judged");
  const auto given = std::make_shared<Arguments>();
  const auto names = std::make_shared<std::pair<std::string, std::string>>();
  command.option("one", names->first, "a candidate, as for verify: what it was before").required();
  command.option("other", names->second, "a candidate, as for verify: what it is now").required();
  add_running_options(command, *given);
  add_bundle_option(command, *given);
  command.footer(kCompareHelp);
  command.runs([given, names](const Circumstance& circumstance) {
    return run_compare(*given, names->first, names->second, circumstance);
  });
}

void add_play(Command& all) {
  auto command = all.command("play", "Answer the candidate protocol from a recording");
  const auto file = std::make_shared<std::string>();
  command.option("recording", *file, "an .h5 file").required();
  command.runs([file](const Circumstance&) {
    play_recording(*file);
    return 0;
  });
}

void add_adapter(Command& all) {
  auto command = all.command("adapter", "Write or try an adapter, what connects a live model");
  command.required();
  auto beginning = command.command("init", "Write a commented adapter to fill in");
  const auto file = std::make_shared<std::string>();
  beginning.option("file", *file, "a new .py file").required();
  beginning.runs(
      [file](const Circumstance& circumstance) { return run_adapter_init(*file, circumstance.data); });
  auto trying = command.command(
      "check", "Try an adapter alone: what it declares, what its mapping leaves over; proposes a mapping");
  const auto given = std::make_shared<Arguments>();
  trying.option("adapter", given->candidate, "an adapter (.py), or 'exec: COMMAND'").required();
  add_running_options(trying, *given);
  trying.runs([given](const Circumstance& circumstance) { return run_adapter_check(*given, circumstance); });
}

void add_drawing_options(Command& command, GenerationOptions& drawn) {
  command.option("--temperature", drawn.sampling.temperature, "0: greedy").shows_default();
  command.option("--top-k", drawn.sampling.top_k, "of the k largest logits; 0: of all").shows_default();
  command.option("--top-p", drawn.sampling.top_p, "of the fewest tokens that have this probability together")
      .shows_default();
  command.option("--repetition-penalty", drawn.sampling.repetition_penalty, "1: none").shows_default();
  command.option("--seed", drawn.seed, "the same seed, the same tokens, whatever the batch").shows_default();
  command.option("--tokens", drawn.most_tokens, "of each sample at most").between(1, 1 << 20).shows_default();
  command.option("--end", drawn.end, "the id of the token that ends a text (default: none does)");
  command.option("--samples", drawn.samples, "of each prompt").between(1, 1 << 20).shows_default();
  command.option("--batch", drawn.batch, "sequences at a time").between(1, 4096).shows_default();
}

void add_sample(Command& all) {
  auto command = all.command("sample", "Let a candidate write: greedy or sampled text, seeded");
  const auto given = std::make_shared<Arguments>();
  const auto run = std::make_shared<SamplingRun>();
  command.option("candidate", given->candidate, "as for verify; weights without code run on our engine")
      .required();
  command
      .option("--prompts", run->prompts,
              "a file: .jsonl with 'ids' or 'prompt' in each line, else a prompt a line")
      .required();
  command.option("-o,--output", run->output, "the samples, a .jsonl file for `plumbline text`").required();
  command.option("--tokenizer", run->tokenizer, "the model's tokenizer.json, for prompts that are text");
  command.footer(
      "Exit status: 0 written; 2 could not be sampled: bad usage, unreadable input, a model that fails.");
  add_drawing_options(command, run->options);
  add_running_options(command, *given);
  command.runs(
      [given, run](const Circumstance& circumstance) { return run_sample(*given, *run, circumstance); });
}

void add_export(Command& all) {
  auto command = all.command("export", "Write the reference's own weights as a Hugging Face checkpoint");
  const auto directory = std::make_shared<std::string>();
  const auto specification = std::make_shared<std::string>("minimind2-small");
  command.option("directory", *directory, "a new or empty directory").required();
  command.option("--spec", *specification, "NAME or FILE of the specification").shows_default();
  command.runs([=](const Circumstance& circumstance) {
    return run_export(*specification, *directory, circumstance.data);
  });
}

}  // namespace

void add_claims(Command& all) {
  auto command = all.command("claims", "What becomes of nine claims about MiniMind2-Small, with the figures");
  command.runs([](const Circumstance& circumstance) { return run_claims(circumstance.data); });
}

void add_commands(Command& all) {
  add_verify(all);
  add_record(all);
  add_compare(all);
  add_play(all);
  add_adapter(all);
  add_sample(all);
  for (const auto& study : {text_study, log_study, experiment_study, campaign_study})
    all.elsewhere(study.name, study.what, "plumbline-studies");
  add_requirements(all);
  add_defects(all);
  add_claims(all);
  add_report(all);
  add_export(all);
}

}  // namespace plumbline
