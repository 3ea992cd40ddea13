// How large an experiment is, and the models that it trains.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "harness/experiment/repeater_results.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

Specification model_of(const Scale& scale, const Levels& before) {
  auto s = scale.after;
  if (before[0]) {
    s.num_hidden_layers = scale.before.num_hidden_layers;
    s.intermediate_size = scale.before.intermediate_size;
    s.intermediate_size_derived = scale.before.intermediate_size_derived;
    s.hidden_act = scale.before.hidden_act;
    s.mlp_bias = scale.before.mlp_bias;
  }
  if (before[1]) s.num_key_value_heads = scale.before.num_key_value_heads;
  if (before[3]) s.initialization = scale.before.initialization;
  s.dropout = before[4] ? scale.before.dropout : 0;
  return s;
}

Scale read_scale(const std::string& name, const std::filesystem::path& fixtures) {
  const auto file = fixtures / "repeater" / "scales.json";
  const auto place = file.string();
  const auto all = parse_json(read_text(file, 1 << 20), place);
  if (!all.contains(name)) {
    std::vector<std::string> known;
    for (const auto& [other, values] : all.items()) known.push_back(other);
    throw InputError(fmt::format("--scale {}: there is no such scale; there are {}", printable(name, 40),
                                 fmt::join(known, ", ")));
  }
  const auto where = fmt::format("{}: {}", place, name);
  const auto& settings = all[name];
  Scale s;
  s.name = name;
  s.after = read_specification(fixtures / value_of<std::string>(settings, "after", where));
  s.before = read_specification(fixtures / value_of<std::string>(settings, "before", where));
  const auto source = value_of<Json>(settings, "source", where),
             training = value_of<Json>(settings, "training", where),
             text = value_of<Json>(settings, "text", where);
  s.source.vocabulary = static_cast<Token>(s.after.vocab_size);
  s.source.successors = value_of<std::uint32_t>(source, "successors", where);
  s.source.loose = value_of<double>(source, "loose", where);
  s.source.zipf = value_of<double>(source, "zipf", where);
  s.source.copying = value_of<double>(source, "copying", where);
  s.source.copy_length = value_of<std::uint32_t>(source, "copy_length", where);
  s.source.copy_distance = value_of<std::uint32_t>(source, "copy_distance", where);
  s.steps = value_of<std::int64_t>(training, "steps", where);
  s.batch = value_of<std::int64_t>(training, "batch", where);
  s.length = value_of<std::int64_t>(training, "length", where);
  s.warm_up = value_of<std::int64_t>(training, "warm_up", where);
  s.optimiser.learning_rate = value_of<double>(training, "learning_rate", where);
  s.optimiser.beta1 = value_of<double>(training, "beta1", where);
  s.optimiser.beta2 = value_of<double>(training, "beta2", where);
  s.optimiser.weight_decay = value_of<double>(training, "weight_decay", where);
  s.clip = value_of<double>(training, "clip", where);
  s.seeds = value_of<std::uint32_t>(settings, "seeds", where);
  s.held_out_batches = value_of<std::int64_t>(settings, "held_out_batches", where);
  s.prompts = value_of<std::int64_t>(text, "prompts", where);
  s.prompt_tokens = value_of<std::int64_t>(text, "prompt_tokens", where);
  s.new_tokens = value_of<std::int64_t>(text, "tokens", where);
  s.compute = value_of<std::string>(settings, "dtype", where) == "bf16" ? at::kBFloat16 : at::kFloat;
  return s;
}

}  // namespace plumbline
