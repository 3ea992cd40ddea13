#include "suites/localisation.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "suites/suite.hpp"

namespace plumbline {
namespace {

constexpr std::int64_t kPrefill = 9;

// A way to see the stages of one sequence.
struct Mode {
  std::string name, needs;
  Tokens tokens;
  std::function<Stages(const Tokens&)> show;
  std::int64_t first_position = 0;
};

std::string in_words(std::int64_t length) {
  return fmt::format("{} token{}", length, length == 1 ? "" : "s");
}

// Lengths at which code has been seen to do something else; 24 is no size of any specification.
std::set<std::int64_t> lengths() {
  const auto& s = subject().specification();
  return {1, 2, s.num_key_value_heads, s.num_attention_heads, 24, 100};
}

Tokens of_length(std::int64_t length) {
  return length == 24 ? standard_probe() : probe("length", 1, length);
}

std::vector<Mode> modes() {
  const auto pass = [](const Tokens& tokens) { return observe(tokens); };
  std::vector<Mode> all = {
      {"evaluation", "evaluation", standard_probe(), pass},
      {"training", "training", standard_probe(),
       [](const Tokens& tokens) { return observe(tokens, in_training()); }},
      {"prefill and decoding", "cache", standard_probe(),
       [](const Tokens& tokens) { return observe_cached(tokens, one_by_one(kPrefill, tokens.ids.size(1))); }},
  };
  all.push_back({"long decoding", "cache", probe("long", 1, 134), [](const Tokens& tokens) {
                   return observe_cached(tokens, one_by_one(61, tokens.ids.size(1)));
                 }});
  for (const auto length : lengths())
    all.push_back({fmt::format("evaluation of {}", in_words(length)), "evaluation", of_length(length), pass});
  for (const auto first : {std::int64_t{300}, subject().specification().max_position_embeddings - 24}) {
    const auto far = [first](const Tokens& tokens) {
      PassOptions options;
      options.first_position = first;
      return observe(tokens, options);
    };
    all.push_back(
        {fmt::format("evaluation from position {}", first), "first_position", standard_probe(), far, first});
  }
  return all;
}

reports::Check judged(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                      const Tolerance& tolerance, const Tokens& tokens) {
  const bool hides = what.ends_with(".scores") && actual.sizes() == expected.sizes();
  return compare(what, hides ? hidden_as_infinity(actual, allowed_in(tokens)) : actual, expected, tolerance);
}

std::vector<reports::StageErrors> errors_of(const Mode& mode) {
  const auto& tokens = mode.tokens;
  const auto shown = mode.show(tokens);
  const auto exact = stages_of(subject().exact(), tokens);
  std::vector<reports::StageErrors> all;
  for (const auto& stage : stage_names(subject().specification().num_hidden_layers)) {
    all.push_back({stage, {}, {}});
    const auto actual = shown.find(stage);
    if (actual == shown.end()) continue;
    const auto& expected = exact.at(stage);
    // Far from the start, rounding of angles carries an honest pass further than the noise that is measured
    // near it.
    if (mode.first_position == 0)
      all.back().inherited =
          judged(stage, actual->second, expected, subject().noise(stage, expected), tokens);
    if (const auto right = try_replay(stage, shown, tokens, mode.first_position))
      all.back().local = judged(stage, actual->second, right->expected, right->tolerance, tokens);
  }
  return all;
}

// A way to run the model that ends in logits, and the tokens they are of.
struct Run {
  std::string name, needs;
  Tokens tokens;
  std::function<at::Tensor(const Tokens&)> logits;
};

std::vector<Run> runs() {
  const auto pass = [](const Tokens& tokens) { return logits(tokens); };
  const auto in = [](const std::vector<std::int64_t>& chunks) {
    return [chunks](const Tokens& tokens) { return cached_logits(tokens, chunks); };
  };
  const auto padded = [](Padding side) {
    return [side](const Tokens& tokens) { return padded_logits(tokens, tokens.ids.size(1) + 5, side); };
  };
  const auto standard = standard_probe();
  std::vector<Run> all;
  for (const auto length : lengths())
    all.push_back({in_words(length), "evaluation", of_length(length), pass});
  const std::vector<Run> others = {
      {"a batch of 5", "evaluation", probe("five", 5, 21), pass},
      {"padding on the right", "padding.right", standard, padded(Padding::right)},
      {"padding on the left", "padding.left", standard, padded(Padding::left)},
      {"training mode", "training", standard,
       [](const Tokens& tokens) { return logits(tokens, in_training()); }},
      {"prefill", "cache", standard, in({24})},
      {"decoding after a prefill", "cache", standard, in(one_by_one(kPrefill, 24))},
      {"decoding from one token", "cache", standard, in(one_by_one(1, 24))},
      {"decoding of 134 tokens", "cache", probe("long", 1, 134), in(one_by_one(61, 134))},
      {"prefill in chunks", "cache.chunks", standard, in({10, 9, 5})},
  };
  all.insert(all.end(), others.begin(), others.end());
  return all;
}

// A check of nothing, with the reason.
reports::Check impossible(const std::string& what, const std::exception& error) {
  reports::Check check;
  check.what = what;
  check.sentence = fmt::format("{}: {}", what, error.what());
  return check;
}

// Never throws: what the candidate answers instead of logits is what there is to say.
reports::Situation tried(const std::string& name,
                         const std::function<reports::Check(const std::string& what)>& judge) {
  const auto what = fmt::format("logits ({})", name);
  try {
    return {name, judge(what)};
  } catch (const std::exception& error) {
    return {name, impossible(what, error)};
  }
}

reports::Check compare_logits(const std::string& what, const at::Tensor& actual, const at::Tensor& exact) {
  const auto expected = exact.to(at::kCPU);
  return compare(what, actual, expected, subject().noise("logits", expected));
}

bool is_block(const std::string& name) {
  return name.find(".o_proj.") != std::string::npos || name.find(".down_proj.") != std::string::npos;
}

// The weights with every block silenced except those whose output projection has this prefix: what a silenced
// one adds to the residual stream is 0.
Weights only(const std::string& prefix) {
  auto weights = subject().weights();
  for (auto& [name, values] : weights)
    if (is_block(name) && (prefix.empty() || !name.starts_with(prefix))) values = at::zeros_like(values);
  return weights;
}

reports::Situation with_only(const std::string& name, const std::string& prefix, const Tokens& tokens) {
  return tried(name, [&](const std::string& what) {
    reports::Check check;
    const auto weights = only(prefix);
    subject().with_weights(weights, [&](Candidate& candidate) {
      const Model exact(subject().specification(), convert(convert(weights, candidate.type(), at::kCPU),
                                                           at::kDouble, candidate.device()));
      check = compare_logits(what, candidate.forward(tokens, {}).to(at::kCPU), exact.forward(tokens));
    });
    return check;
  });
}

// Which blocks are wrong on their own: seen in the logits alone.
std::vector<reports::Situation> block_by_block(const Tokens& tokens) {
  std::vector<reports::Situation> all{with_only("every block silenced", "", tokens)};
  if (!all.front().check.within) return all;
  for (std::int64_t layer = 0; layer < subject().specification().num_hidden_layers; ++layer) {
    const auto prefix = fmt::format("model.layers.{}.", layer);
    all.push_back(with_only(fmt::format("the attention of layer {} alone", layer),
                            prefix + "self_attn.o_proj", tokens));
    all.push_back(with_only(fmt::format("the feed-forward of layer {} alone", layer),
                            prefix + "mlp.down_proj", tokens));
  }
  return all;
}

std::vector<std::string> names(const std::vector<reports::Situation>& situations, bool right) {
  std::vector<std::string> found;
  for (const auto& [name, check] : situations)
    if (check.within == right) found.push_back(name);
  return found;
}

bool right_in(const std::vector<reports::Situation>& situations, const std::string& name) {
  for (const auto& situation : situations)
    if (situation.name == name) return situation.check.within;
  return true;
}

// What stands between the last stage that was right and the first that was not.
std::string gap(const reports::Localisation& found) {
  std::string before = "the tokens";
  for (const auto& one : found.stages) {
    if (&one == first_divergent(found))
      return fmt::format(
          "in {}, every shown stage is what its inputs call for, and {} is not what it should be: "
          "the fault is in what is not shown after {}",
          found.mode, one.stage, before);
    if (one.inherited) before = one.stage;
  }
  return "";
}

// With nothing but logits to see.
std::string narrowed(const std::vector<reports::Situation>& runs,
                     const std::vector<reports::Situation>& blocks) {
  const auto wrong = names(runs, false);
  if (wrong.empty())
    return "every pass that was tried gives the right logits: what failed is in none of them";
  if (right_in(runs, "24 tokens"))
    return fmt::format("a plain pass of 24 tokens is right; wrong are: {}", fmt::join(wrong, ", "));
  if (blocks.empty()) return "a plain pass is wrong; its weights cannot be set, so blocks cannot be silenced";
  for (const auto& block : blocks)
    if (block.check.elements == 0) return fmt::format("a plain pass is wrong; then {}", block.check.sentence);
  if (!blocks.front().check.within)
    return "with every block silenced the logits are still wrong: look at the embedding, the final norm and "
           "the head";
  const auto alone = names(blocks, false);
  if (alone.empty())
    return "each block on its own is right: look at how blocks are joined, the residuals and the order of "
           "layers";
  return fmt::format(
      "wrong on their own: {}{}", fmt::join(alone, ", "),
      right_in(runs, "1 token")
          ? "; a single token is right, so look at scores, positions, mask and softmax"
          : "; a single token is wrong too, for which scores, positions and mask mean nothing");
}

void localise(reports::Localisation& found) {
  auto& s = subject();
  s.running();
  for (const auto& mode : modes()) {
    if (!s.can(mode.needs)) continue;
    try {
      found.stages = errors_of(mode);
    } catch (const NotShown&) {
      continue;
    } catch (const std::exception& error) {
      const auto name = "the stages in " + mode.name;
      found.situations.push_back({name, impossible(name, error)});
      continue;
    }
    found.mode = mode.name;
    if (first_divergent(found) != nullptr || first_locally_wrong(found) != nullptr) break;
    found.mode.clear();
    found.stages.clear();
  }
  for (const auto& run : runs()) {
    if (!s.can(run.needs)) continue;
    found.situations.push_back(tried(run.name, [&](const std::string& what) {
      return compare_logits(what, run.logits(run.tokens), s.exact().forward(run.tokens));
    }));
  }
  if (const auto* wrong = first_locally_wrong(found)) {
    found.conclusion = fmt::format("in {}, {} is the first stage that is not what its own inputs call for",
                                   found.mode, wrong->stage);
    return;
  }
  const auto shown = std::count_if(found.stages.begin(), found.stages.end(),
                                   [](const auto& one) { return one.inherited.has_value(); });
  if (first_divergent(found) != nullptr && shown > 1) {
    found.conclusion = gap(found);
    return;
  }
  std::vector<reports::Situation> blocks;
  if (s.can("load") && !right_in(found.situations, "24 tokens")) blocks = block_by_block(standard_probe());
  found.conclusion = narrowed(found.situations, blocks);
  found.situations.insert(found.situations.end(), blocks.begin(), blocks.end());
}

}  // namespace

reports::Localisation localise() {
  const at::NoGradGuard no_gradients;
  reports::Localisation found;
  try {
    localise(found);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    found.conclusion = fmt::format("not assessed: {}", message.substr(0, message.find('\n')));
  }
  return found;
}

}  // namespace plumbline
