#include "harness/experiment/repeater_results.hpp"

#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr std::uint64_t kLargestResults = 16 << 20;  // bytes

// Errors: InputError where the results are not complete, as in an edited file.
void require_results(const Json& results, const Run& run, const std::string& where) {
  const auto require = [&](bool holds, const std::string& what) {
    if (!holds) throw InputError(fmt::format("{}: {}; remove it, and the run is made again", where, what));
  };
  require(value_of<std::string>(results, "name", where) == run.name(), "names another run");
  const auto levels = value_of<Json>(results, "levels", where);
  for (std::size_t i = 0; i < kFactors; ++i)
    require(
        value_of<std::string>(levels, factors()[i].id.c_str(), where) == (run.before[i] ? "before" : "after"),
        "has other levels than its name");
  const auto curve = value_of<std::vector<double>>(results, "curve", where);
  require(!curve.empty(), "has no curve");
  for (const auto* key : {"training_loss", "held_out_loss", "held_out_loss_as_trained", "first_loss"})
    value_of<double>(results, key, where);
  value_of<std::int64_t>(results, "parameters", where);
  for (const auto* key : {"median", "unsteadiness"})
    value_of<double>(value_of<Json>(results, "gradient_norm", where), key, where);
  for (const auto* strategy : {"greedy", "sampled"})
    for (const auto* id : {"looping", "seq-rep-4"})
      value_of<double>(
          value_of<Json>(value_of<Json>(value_of<Json>(results, "writes", where), strategy, where), id,
                         where),
          "value", where);
}

}  // namespace

Json settings_of(const RepeaterOptions& options, const Corpus& corpus) {
  const auto& s = options.scale;
  return {{"scale", s.name},
          {"after", s.after.sha256},
          {"before", s.before.sha256},
          {"text", corpus.sha256()},
          {"source",
           {s.source.successors, s.source.loose, s.source.zipf, s.source.copying, s.source.copy_length,
            s.source.copy_distance, s.source.seed}},
          {"eps", s.optimiser.eps},
          {"device", options.device.is_cuda() ? "cuda" : "cpu"},
          {"steps", s.steps},
          {"batch", s.batch},
          {"length", s.length},
          {"warm_up", s.warm_up},
          {"learning_rate", s.optimiser.learning_rate},
          {"betas", {s.optimiser.beta1, s.optimiser.beta2}},
          {"weight_decay", s.optimiser.weight_decay},
          {"clip", s.clip},
          {"prompts", s.prompts},
          {"prompt_tokens", s.prompt_tokens},
          {"new_tokens", s.new_tokens},
          {"seeds", s.seeds},
          {"held_out_batches", s.held_out_batches},
          {"dtype", s.compute == at::kFloat ? "f32" : "bf16"}};
}

std::optional<Json> read_results(const std::filesystem::path& file, const Run& run,
                                 const std::string& fingerprint) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return std::nullopt;
  const auto where = printable(file.string());
  auto results = parse_json(read_text(file, kLargestResults), where);
  if (value_of<std::string>(results, "fingerprint", where) != fingerprint)
    throw InputError(
        fmt::format("{}: is of another experiment, with other settings; name another --out", where));
  results.erase("fingerprint");
  require_results(results, run, where);
  return results;
}

void write_results(const std::filesystem::path& file, Json results, const std::string& fingerprint) {
  results["fingerprint"] = fingerprint;
  write_atomically(file, results.dump() + "\n");
}

}  // namespace plumbline
