#include "harness/judging/run_modes.hpp"

#include "harness/judging/probes.hpp"
#include "harness/judging/ways.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/system/error.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace plumbline {
namespace {

constexpr std::int64_t kPrefill = 9;

std::string count_tokens(std::int64_t length) {
  return fmt::format("{} token{}", length, length == 1 ? "" : "s");
}

// Lengths at which real code has behaved differently; 24 is no size of any specification.
std::set<std::int64_t> lengths(Subject& subject) {
  const auto& s = subject.specification();
  return {1, 2, s.num_key_value_heads, s.num_attention_heads, 24, fitting_length(subject, 100)};
}

Tokens probe_of_length(Subject& subject, std::int64_t length) {
  return length == 24 ? standard_probe(subject) : probe(subject, "length", 1, length);
}

bool is_output_projection(const std::string& name) {
  return name.find(".o_proj.") != std::string::npos || name.find(".down_proj.") != std::string::npos;
}

// The weights with all output projections of blocks set to 0 but those with this prefix, so that the other
// blocks add 0 to the residual stream.
Weights with_blocks(Subject& subject, const std::string& prefix) {
  auto weights = subject.weights();
  for (auto& [name, values] : weights)
    if (is_output_projection(name) && (prefix.empty() || !name.starts_with(prefix)))
      values = at::zeros_like(values);
  return weights;
}

}  // namespace

std::vector<StageRun> stage_runs(Subject& of) {
  const auto longer = fitting_length(of, 134);
  const auto pass = [](Subject& subject, const Tokens& tokens) { return observe(subject, tokens); };
  std::vector<StageRun> all = {
      {"evaluation", "evaluation", standard_probe(of), pass},
      {"training", "training", standard_probe(of),
       [](Subject& subject, const Tokens& tokens) { return observe(subject, tokens, training_options()); }},
      {"prefill and decoding", "cache", standard_probe(of),
       [](Subject& subject, const Tokens& tokens) {
         return observe_cached(subject, tokens, prefill_then_single_tokens(kPrefill, tokens.ids.size(1)));
       }},
  };
  all.push_back(
      {"long decoding", "cache", probe(of, "long", 1, longer), [](Subject& subject, const Tokens& tokens) {
         const auto length = tokens.ids.size(1);
         return observe_cached(subject, tokens,
                               prefill_then_single_tokens(std::min<std::int64_t>(61, length / 2), length));
       }});
  for (const auto length : lengths(of))
    all.push_back({fmt::format("evaluation of {}", count_tokens(length)), "evaluation",
                   probe_of_length(of, length), pass});
  for (const auto first : far_positions(of.specification())) {
    const auto far = [first](Subject& subject, const Tokens& tokens) {
      PassOptions options;
      options.first_position = first;
      return observe(subject, tokens, options);
    };
    all.push_back({fmt::format("evaluation from position {}", first), "first_position", standard_probe(of),
                   far, first});
  }
  return all;
}

namespace {

void add_wrong_ways(Subject& of, std::vector<LogitsRun>& all) {
  for (const auto& values : of.wrong_ways()) {
    const Way way{values};
    if (way.is_simple()) continue;  // one of those above is the same
    all.push_back({way.name(),
                   way.needs(),
                   sequence_of(of, way),
                   [way](Subject& subject, const Tokens& tokens) { return run_way(subject, way, tokens); },
                   way.options().first_position,
                   true,
                   {way.options().training, way.uses_cache(), way.pads()}});
  }
}

}  // namespace

std::vector<LogitsRun> logits_runs(Subject& of) {
  const auto longer = fitting_length(of, 134);
  const auto pass = [](Subject& subject, const Tokens& tokens) { return logits(subject, tokens); };
  const auto in = [](const std::vector<std::int64_t>& chunks) {
    return
        [chunks](Subject& subject, const Tokens& tokens) { return cached_logits(subject, tokens, chunks); };
  };
  const auto padded = [](Padding side) {
    return [side](Subject& subject, const Tokens& tokens) {
      return padded_logits(subject, tokens, tokens.ids.size(1) + 5, side);
    };
  };
  const auto standard = standard_probe(of);
  std::vector<LogitsRun> all;
  for (const auto length : lengths(of))
    all.push_back({count_tokens(length), "evaluation", probe_of_length(of, length), pass});
  if (const auto wrong = of.wrong_length())
    all.push_back({count_tokens(*wrong),
                   "evaluation",
                   {probe(of, "longest", 1, of.probes().longest).ids.narrow(1, 0, *wrong), {}, Padding::none},
                   pass});
  const auto longest = std::min<std::int64_t>(600, of.specification().max_position_embeddings - 4);
  const std::vector<LogitsRun> others = {
      {count_tokens(longest), "evaluation", probe(of, "longest", 1, longest), pass},
      {"a batch of 5", "evaluation", probe(of, "five", 5, 21), pass},
      {"padding on the right", "padding.right", standard, padded(Padding::right)},
      {"padding on the left", "padding.left", standard, padded(Padding::left)},
      {"a padding mask of ones", "padding.right", standard,
       [](Subject& subject, const Tokens& tokens) {
         return logits(subject, with_mask_of_ones(tokens, Padding::right));
       }},
      {"training mode", "training", standard,
       [](Subject& subject, const Tokens& tokens) { return logits(subject, tokens, training_options()); }},
      {"prefill", "cache", standard, in({24})},
      {"decoding after a prefill", "cache", standard, in(prefill_then_single_tokens(kPrefill, 24))},
      {"decoding from one token", "cache", standard, in(prefill_then_single_tokens(1, 24))},
      {fmt::format("decoding of {}", count_tokens(longer)), "cache", probe(of, "long", 1, longer),
       in(prefill_then_single_tokens(std::min<std::int64_t>(61, longer / 2), longer))},
      {fmt::format("4 tokens after {}", longest), "cache", probe(of, "longest", 1, longest + 4),
       in(prefill_then_single_tokens(longest, longest + 4))},
      {"prefill in chunks", "cache.chunks", standard, in({10, 9, 5})},
  };
  all.insert(all.end(), others.begin(), others.end());
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    all.push_back({fmt::format("decoding of a batch padded on the {}", name), "cache.padding." + name,
                   probe(of, "padded row", 1, 11), [side](Subject& subject, const Tokens& tokens) {
                     return decode_in_padded_batch(subject, tokens, side);
                   }});
  }
  for (auto& run : all)
    run.kind = {run.needs == "training", run.needs.starts_with("cache"),
                run.needs.find("padding") != std::string::npos};
  add_wrong_ways(of, all);
  return all;
}

reports::Check failed_check(const std::string& what, const std::exception& error) {
  const std::string message = error.what();
  return reports::nothing_compared(what, message.substr(0, message.find('\n')));
}

reports::Situation try_run(const std::string& name,
                           const std::function<reports::Check(const std::string& what)>& judge) {
  const auto what = fmt::format("logits ({})", name);
  try {
    return {name, judge(what)};
  } catch (const InputError&) {
    throw;  // not the candidate's fault: a full disk, for example
  } catch (const std::exception& error) {
    return {name, failed_check(what, error)};
  }
}

std::vector<reports::Situation> block_by_block(
    Subject& subject,
    const std::function<reports::Check(const std::string& what, const Weights& weights)>& judge) {
  const auto with = [&](const std::string& name, const std::string& prefix) {
    return try_run(name, [&](const std::string& what) { return judge(what, with_blocks(subject, prefix)); });
  };
  std::vector<reports::Situation> all{with(reports::every_block_silenced, "")};
  if (!all.front().check.within) return all;
  for (std::int64_t layer = 0; layer < subject.specification().num_hidden_layers; ++layer) {
    const auto prefix = fmt::format("model.layers.{}.", layer);
    all.push_back(with(fmt::format("the attention of layer {} alone", layer), prefix + "self_attn.o_proj"));
    all.push_back(with(fmt::format("the feed-forward of layer {} alone", layer), prefix + "mlp.down_proj"));
  }
  return all;
}

}  // namespace plumbline
