#include "harness/cli/arguments.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "harness/candidate/checkpoint.hpp"
#include "harness/candidate/fast_reference.hpp"
#include "harness/candidate/reference.hpp"
#include "harness/candidate/variants.hpp"
#include "harness/cli/commit.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/model/device.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/processors.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostOfRecording = 8ull << 30;  // bytes of memory to read one

}  // namespace

fs::path model_file(const std::string& name) {
  const auto end = name.rfind(".py:");
  return end == std::string::npos ? name : name.substr(0, end + 3);
}

std::string users_python(const Arguments& arguments) {
  if (!arguments.python.empty()) return arguments.python;
  for (const auto* environment : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char* prefix = std::getenv(environment); prefix != nullptr && *prefix != '\0')
      return fmt::format("{}/bin/python", prefix);
  return "python3";
}

namespace {

// A command may end in the name of a recording that it plays.
bool is_command(const std::string& name) {
  return name.starts_with("exec:");
}

// The commit of the candidate's files, if it has any.
std::optional<reports::Commit> commit_of_candidate(const Arguments& arguments) {
  std::error_code ignored;
  const auto file = model_file(arguments.candidate);
  return fs::exists(file, ignored) ? commit_of(file) : std::nullopt;
}

// A pass of 4,097 tokens takes seconds with a small model, and minutes with a large one.
std::int64_t longest_pass(const Arguments& arguments, const Specification& specification) {
  const bool small = specification.parameter_count() <= 1'000'000;
  const std::int64_t longest = arguments.longest > 0 ? arguments.longest : small ? 4097 : 604;
  return std::min(longest, specification.max_position_embeddings);
}

}  // namespace

fs::path script_directory(const fs::path& data) {
  std::error_code ignored;
  const auto in_tree = data / "harness" / "python";
  return fs::is_directory(in_tree, ignored) ? in_tree : data / "python";
}

std::string python_path(const fs::path& data) {
  const char* users_path = std::getenv("PYTHONPATH");
  const auto package_path = script_directory(data).string();
  return users_path == nullptr || *users_path == '\0' ? package_path
                                                      : fmt::format("{}:{}", package_path, users_path);
}

bool is_recording(const std::string& name) {
  return name.ends_with(".h5") && !is_command(name);
}

bool is_program(const std::string& name) {
  return is_command(name) || model_file(name).string().ends_with(".py");
}

LiveOptions live_options(const Arguments& arguments, const fs::path& data, at::ScalarType type,
                         at::Device device) {
  const auto& name = arguments.candidate;
  LiveOptions options;
  options.name = arguments.name.empty() ? name : arguments.name;
  options.type = type;
  options.device = device;
  options.threads = at::get_num_threads();
  options.seed = arguments.seed;
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
    options.sha256 = sha256_of_file(model_file(name).string());
    options.command = {users_python(arguments), "-m", "plumbline.serve", fs::absolute(name).string()};
    options.environment.emplace_back("PYTHONPATH", python_path(data));
  }
  return options;
}

std::unique_ptr<Candidate> open_candidate(const Arguments& arguments, const RunSetup& setup) {
  const auto& [data, specification, device, type] = setup;
  const auto& name = arguments.candidate;
  if (name == "reference") return make_reference(name, {specification, {}}, type, device);
  if (name == "reference:fast") return make_engine(name, specification, type, device);
  if (name.starts_with("defect:"))
    return make_reference(name, apply_departures(specification, name.substr(7)), type, device);
  if (name.starts_with("variant:")) return make_variant(name.substr(8), specification, type, device);
  if (is_command(name)) return open_live(live_options(arguments, data, type, device), specification);
  std::error_code ignored;
  if (!fs::exists(model_file(name), ignored))
    throw InputError(fmt::format(
        "{}: no such file or directory; expected a model (FILE.py:NAME), an adapter (.py), 'exec: COMMAND', "
        "a recording (.h5), a checkpoint directory, a .safetensors or .pth file, 'reference', 'defect:NAME' "
        "or 'variant:NAME'",
        printable(name)));
  if (is_program(name) || is_recording(name))
    return open_live(live_options(arguments, data, type, device), specification);
  return open_checkpoint(name, PLUMBLINE_PYTHON, script_directory(data).string());
}

RunSetup prepare_run(const Arguments& arguments, const fs::path& data) {
  RunSetup setup{data, find_specification(arguments.specification, data / "fixtures" / "specifications"),
                 parse_device(arguments.device), arguments.dtype == "bf16" ? at::kBFloat16 : at::kFloat};
  if (arguments.threads > 0) at::set_num_threads(arguments.threads);
  return setup;
}

RunContext make_run_context(const Arguments& arguments, const RunSetup& setup,
                            const CommandContext& command_context) {
  require_writable(arguments.out, "--out");
  reports::require_room_for_bundle(arguments.out);
  return {setup.specification,
          setup.data,
          arguments.out,
          device_name(setup.device),
          arguments.dtype,
          command_context.version,
          command_context.command,
          commit_of_candidate(arguments),
          {arguments.seed, longest_pass(arguments, setup.specification)},
          arguments.verbose};
}

void add_running_options(Command& command, Arguments& arguments) {
  command
      .option("--spec", arguments.specification,
              "what the candidate claims to be: a NAME in fixtures/specifications, or a FILE")
      .shows_default();
  command.option("--device", arguments.device, "where code runs: auto, cpu, cuda or cuda:N").shows_default();
  command.option("--dtype", arguments.dtype, "the type that code runs in")
      .one_of({"f32", "bf16"})
      .shows_default();
  command.option("--threads", arguments.threads, "number of CPU threads; 0: LibTorch decides")
      .between(0, 1024)
      .shows_default();
  command.option(
      "--python", arguments.python,
      "the interpreter that runs an adapter (default: that of the active environment, else python3)");
  command.option("--timeout", arguments.timeout, "seconds that a live model may take for one answer")
      .between(0.1, 86400.0)
      .shows_default();
}

void add_probe_options(Command& command, Arguments& arguments) {
  command
      .option("--seed", arguments.seed,
              "the seed of the probes' weights and tokens; in CI, take another one in each run")
      .shows_default();
  command
      .option("--longest", arguments.longest,
              "tokens of the longest pass; 0: 4097 up to a million parameters, else 604")
      .between(std::int64_t{0}, std::int64_t{1} << 20)
      .shows_default();
}

void add_bundle_option(Command& command, Arguments& arguments) {
  command
      .option("--out", arguments.out,
              "directory for the bundle: report.html, result.json and the files that derive from it")
      .shows_default();
  command.flag("--verbose", arguments.verbose,
               "print everything that was found: failures, what was not assessed, advice, findings");
}

}  // namespace plumbline
