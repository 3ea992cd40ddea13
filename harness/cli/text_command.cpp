#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"
#include "harness/text/text_report.hpp"
#include "harness/training_log/training_log.hpp"

namespace plumbline {
namespace {

constexpr const char* kTextHelp =
    "Exit status: 0 measured; with a baseline: not more repetitive.\n"
    "             1 more repetitive than the baseline.\n"
    "             2 could not be measured: bad usage, unreadable input, two files that cannot be compared.\n"
    "             3 not assessed: too few prompts to tell.";

constexpr const char* kLogHelp =
    "Exit status: 0 nothing looks wrong.\n"
    "             1 something is wrong: the loss starts above ln V, holds NaN, is flat, rises again or falls "
    "too fast.\n"
    "             2 could not be judged: bad usage, unreadable input, no loss in it.\n"
    "             3 incomplete: too few entries, or an unknown start, so that a deciding question has no "
    "answer.";

struct TextArguments {
  std::string file, baseline, unit, output, each, picture;
  std::uint32_t vocabulary = 0;  // 0: not known
  std::vector<std::uint32_t> sentence_ends;
  std::uint32_t seed = 1;
};

struct LogArguments {
  std::string file, output, picture;
  std::optional<std::uint32_t> vocabulary;  // empty: not known
  bool from_checkpoint = false;
  LogReading reading;
};

void write(const std::string& file, const std::string& content) {
  if (file.empty()) return;
  write_atomically(file, content);
  print_out("   {}\n", printable(file));
}

int run_text(const TextArguments& arguments, const CommandContext& command_context) {
  require_output(arguments.output, "--output", {arguments.file, arguments.baseline});
  require_output(arguments.each, "--each", {arguments.file, arguments.baseline, arguments.output});
  require_output(arguments.picture, "--picture",
                 {arguments.file, arguments.baseline, arguments.output, arguments.each});
  const auto thresholds = read_text_thresholds(command_context.data / "fixtures" / "text.json");
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
  document["program"] = command_context.version;
  document["command"] = printable(command_context.command, 2000);
  print_out("{}", text_summary(document));
  write(arguments.output, document.dump({.indent = 1}) + "\n");
  if (!arguments.each.empty()) write(arguments.each, text_of_each_sample(text));
  if (!arguments.picture.empty()) write(arguments.picture, text_picture(document));
  return text_status(document);
}

int run_log(const LogArguments& arguments, const CommandContext& command_context) {
  require_output(arguments.output, "--output", {arguments.file});
  require_output(arguments.picture, "--picture", {arguments.file, arguments.output});
  const auto log = read_training_log(arguments.file, arguments.reading);
  auto document = log_document(log, {arguments.vocabulary, arguments.from_checkpoint});
  document["program"] = command_context.version;
  document["command"] = printable(command_context.command, 2000);
  print_out("{}", log_summary(document));
  write(arguments.output, document.dump({.indent = 1}) + "\n");
  if (!arguments.picture.empty()) write(arguments.picture, log_picture(log, document));
  return log_status(document);
}

void add_text(Command& all) {
  const auto text = std::make_shared<TextArguments>();
  auto command = all.command(text_entry.name, text_entry.what);
  command
      .option(
          "file", text->file,
          "samples: .jsonl with 'ids' or 'text' in each line, or plain text with empty lines between samples")
      .required();
  command.option("--baseline", text->baseline, "samples to compare with, in another such file");
  command.option("--unit", text->unit, "what is counted (default: ids if there are any, else words)")
      .one_of({"ids", "words", "characters"});
  command.option("--vocabulary", text->vocabulary, "the vocabulary size: every id has to be below it")
      .between(1u, 0xfffffffeu);
  command.option("--sentence-ends", text->sentence_ends, "token ids that end a sentence, separated by commas")
      .separated_by_commas();
  command.option("--seed", text->seed, "seed of the bootstrap").shows_default();
  command.option("-o,--output", text->output,
                 "write everything to this JSON file (schema: text.schema.json)");
  command.option("--each", text->each, "write the values of each sample to this .jsonl file");
  command.option("--picture", text->picture, "draw every metric with its interval in this SVG file");
  command.footer(kTextHelp);
  command.runs([text](const CommandContext& command_context) { return run_text(*text, command_context); });
}

void add_log(Command& all) {
  const auto log = std::make_shared<LogArguments>();
  auto command = all.command(log_entry.name, log_entry.what);
  command
      .option("file", log->file,
              "the log: lines of text, progress bars, a table or JSON (a trainer_state.json, an export of a "
              "tracker), also in gzip or UTF-16")
      .required();
  command
      .option("--vocabulary", log->vocabulary,
              "the model's vocabulary size V: a loss starts near ln V (default: 6400, or what the first loss "
              "suggests)")
      .between(2u, 1u << 31);
  command.flag("--from-checkpoint", log->from_checkpoint,
               "the run continues from a trained model (fine-tuning, a resumed run), so it may start low");
  command.option("--loss,--column", log->reading.column,
                 "the name of the loss in text, a table or JSON (default: loss and similar names)");
  command.option(
      "--pattern", log->reading.pattern,
      "for text: a regular expression with one group for the loss, or two for the step and the loss");
  command.option("-o,--output", log->output,
                 "write everything to this JSON file (schema: training_log.schema.json)");
  command.option("--picture", log->picture, "draw the curve in this SVG file");
  command.footer(kLogHelp);
  command.runs([log](const CommandContext& command_context) { return run_log(*log, command_context); });
}

}  // namespace

void add_text_commands(Command& all) {
  add_text(all);
  add_log(all);
}

}  // namespace plumbline
