#include "harness/text_commands.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/text/text_report.hpp"
#include "harness/text/training_log.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTextHelp =
    "Exit status: 0 measured; with a baseline: not more repetitive.\n"
    "             1 more repetitive than the baseline.\n"
    "             2 could not be measured: bad usage, unreadable input, two files that cannot be compared.\n"
    "             3 not assessed: too few prompts to tell.";

constexpr const char* kLogHelp =
    "Exit status: 0 nothing wrong is seen in it.\n"
    "             1 something is: it starts elsewhere than at ln V, holds NaN, is flat, or goes up again.\n"
    "             2 could not be judged: bad usage, unreadable input, no loss in it.\n"
    "             3 not assessed: too few entries.";

struct TextArguments {
  std::string file, baseline, unit, output, each, picture;
  std::uint32_t vocabulary = 0;  // 0: not said
  std::vector<std::uint32_t> sentence_ends;
  std::uint32_t seed = 1;
};

struct LogArguments {
  std::string file, output, picture;
  std::int64_t vocabulary = 6400;
  LogReading reading;
};

void write(const std::string& file, const std::string& content) {
  if (file.empty()) return;
  write_atomically(file, content);
  fmt::print("   {}\n", printable(file));
}

int run_text(const TextArguments& arguments, const Circumstance& circumstance) {
  require_output(arguments.output, "--output", {arguments.file, arguments.baseline});
  require_output(arguments.each, "--each", {arguments.file, arguments.baseline, arguments.output});
  require_output(arguments.picture, "--picture",
                 {arguments.file, arguments.baseline, arguments.output, arguments.each});
  const auto thresholds = read_text_thresholds(circumstance.data / "fixtures" / "text.json");
  const auto measure = [&](const std::string& file) {
    MeasuredText text;
    text.samples = read_samples(
        file, {arguments.unit,
               arguments.vocabulary > 0 ? std::optional<Token>(arguments.vocabulary) : std::nullopt});
    text.repetition = measure_repetition(text.samples, arguments.sentence_ends);
    return text;
  };
  const auto text = measure(arguments.file);
  std::optional<MeasuredText> baseline;
  if (!arguments.baseline.empty()) baseline = measure(arguments.baseline);
  auto document = text_document(text, baseline ? &*baseline : nullptr, thresholds, arguments.seed);
  document["program"] = circumstance.version;
  document["command"] = printable(circumstance.command, 2000);
  fmt::print("{}", text_summary(document));
  write(arguments.output, document.dump(1) + "\n");
  if (!arguments.each.empty()) write(arguments.each, text_of_each_sample(text));
  if (!arguments.picture.empty()) write(arguments.picture, text_picture(document));
  return text_status(document);
}

int run_log(const LogArguments& arguments, const Circumstance& circumstance) {
  require_output(arguments.output, "--output", {arguments.file});
  require_output(arguments.picture, "--picture", {arguments.file, arguments.output});
  const auto log = read_training_log(arguments.file, arguments.reading);
  auto document = log_document(log, arguments.vocabulary);
  document["program"] = circumstance.version;
  document["command"] = printable(circumstance.command, 2000);
  fmt::print("{}", log_summary(document));
  write(arguments.output, document.dump(1) + "\n");
  if (!arguments.picture.empty()) write(arguments.picture, log_picture(log, document));
  return log_status(document);
}

void add_text(CLI::App& app, std::function<int(const Circumstance&)>& chosen) {
  const auto text = std::make_shared<TextArguments>();
  auto* command =
      app.add_subcommand("text", "Measure how repetitive texts are: a model's samples, or anyone's");
  command
      ->add_option("file", text->file,
                   "samples: .jsonl with 'ids' or 'text' in each line, else plain text, samples separated by "
                   "empty lines")
      ->required();
  command->add_option("--baseline", text->baseline, "what it is to be held against: another such file");
  command->add_option("--unit", text->unit, "what is counted (default: ids where they are given, else words)")
      ->check(CLI::IsMember({"ids", "words", "characters"}));
  command->add_option("--vocabulary", text->vocabulary, "ids have to be below this number")
      ->check(CLI::Range(1u, 0xfffffffeu));
  command
      ->add_option("--sentence-ends", text->sentence_ends,
                   "token ids that end a sentence, separated by commas")
      ->delimiter(',');
  command->add_option("--seed", text->seed, "of the bootstrap")->capture_default_str();
  command->add_option("-o,--output", text->output, "a JSON file with everything, by text.schema.json");
  command->add_option("--each", text->each, "a .jsonl file with the values of each sample on its own");
  command->add_option("--picture", text->picture, "every metric with its interval, as an SVG file");
  command->footer(kTextHelp);
  command->callback([text, &chosen] {
    chosen = [text](const Circumstance& circumstance) { return run_text(*text, circumstance); };
  });
}

void add_log(CLI::App& app, std::function<int(const Circumstance&)>& chosen) {
  const auto log = std::make_shared<LogArguments>();
  auto* command = app.add_subcommand("log", "Judge the loss curve of anyone's training run");
  command
      ->add_option("file", log->file,
                   "the log: .jsonl, .json (a trainer_state.json), .csv or .tsv, anything else as text")
      ->required();
  command->add_option("--vocabulary", log->vocabulary, "of the model: a loss starts near its logarithm")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31))
      ->capture_default_str();
  command->add_option("--column", log->reading.column,
                      "the name of the loss in JSON or CSV (default: loss and the like)");
  command->add_option(
      "--pattern", log->reading.pattern,
      "of text: a regular expression with a group for the loss, or one for the step and one for the loss");
  command->add_option("-o,--output", log->output, "a JSON file with everything, by training_log.schema.json");
  command->add_option("--picture", log->picture, "the curve as an SVG file");
  command->footer(kLogHelp);
  command->callback([log, &chosen] {
    chosen = [log](const Circumstance& circumstance) { return run_log(*log, circumstance); };
  });
}

}  // namespace

void add_text_commands(CLI::App& app, std::function<int(const Circumstance&)>& chosen) {
  add_text(app, chosen);
  add_log(app, chosen);
}

void require_output(const std::string& file, const std::string& option,
                    const std::vector<std::string>& inputs) {
  if (file.empty()) return;
  std::error_code ignored;
  if (fs::is_directory(file, ignored))
    throw InputError(fmt::format("{} {}: is a directory; name a file", option, printable(file)));
  const auto place = fs::weakly_canonical(file, ignored);
  for (const auto& input : inputs) {
    if (input.empty()) continue;
    const auto given = fs::weakly_canonical(input, ignored);
    if (given == place || fs::equivalent(input, file, ignored))
      throw InputError(
          fmt::format("{} {}: is {} itself; name another file", option, printable(file), printable(input)));
    if (fs::is_directory(input, ignored) && place.parent_path() == given)
      throw InputError(fmt::format("{} {}: lies among the files of {}; name another place", option,
                                   printable(file), printable(input)));
  }
  require_writable(fs::absolute(file).parent_path(), option);
}

}  // namespace plumbline
