#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/judging/large_activations.hpp"
#include "harness/judging/ways.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

void CandidatePair::compare_logits(const std::string& what, const at::Tensor& first, const at::Tensor& second,
                                   const Tolerance& tolerance, bool far) {
  auto check = compare_two(fmt::format("logits ({})", what), second, first, tolerance);
  localisation.situations.push_back({what, check});
  if (!*check.identical && !far && tolerance.bound.numel() == 1 && largest(finite(first)) > 0)
    rounding_share = std::max(rounding_share, tolerance.bound.item<double>() / largest(finite(first)));
  record(std::move(check));
}

void CandidatePair::compare_logits_of(const std::string& what, const std::string& needs,
                                      const std::function<at::Tensor(Subject&)>& question) {
  if (!can(needs)) return;
  compare_answers(question, [&](const at::Tensor& first, const at::Tensor& second) {
    compare_logits(what, first, second, one.noise("logits", first));
  });
}

void CandidatePair::compare_with_full_pass(const std::string& what, const std::string& needs,
                                           const std::function<at::Tensor(Subject&)>& question,
                                           const std::function<at::Tensor(Subject&)>& full) {
  const auto* who = alone(needs);
  const auto label =
      who == nullptr ? what : fmt::format("{} of {}, a full pass of the other", what, name(*who));
  compare_or_stand_in(needs, question, full, [&](const at::Tensor& first, const at::Tensor& second) {
    compare_logits(label, first, second, one.noise("logits", first));
  });
}

void CandidatePair::compare_far_positions() {
  const auto tokens = standard_probe(one);
  for (const auto first_position : far_positions(one.specification())) {
    PassOptions options;
    options.first_position = first_position;
    if (const auto* who = alone("first_position")) {
      compare_with_start(*who, tokens, options);
      continue;
    }
    if (!can("first_position")) continue;
    compare_answers([&](Subject& subject) { return logits(subject, tokens, options); },
                    [&](const at::Tensor& first, const at::Tensor& second) {
                      compare_logits(fmt::format("24 tokens from position {}", first_position), first, second,
                                     noise_of_pass(one, tokens, options, first), /*far=*/true);
                    });
  }
}

void CandidatePair::compare_with_start(const Subject& who, const Tokens& tokens, const PassOptions& options) {
  const auto elsewhere = [&](Subject& subject) { return logits(subject, tokens, options); };
  const auto at_the_start = [&](Subject& subject) { return logits(subject, tokens); };
  const auto first = &who == &one ? ask(one, elsewhere) : ask(one, at_the_start);
  const auto second = &who == &one ? ask(*other, at_the_start) : ask(*other, elsewhere);
  const auto tolerance = noise_of_pass(one, tokens, options, first);
  const auto what = fmt::format("24 tokens from position {} of {}, from position 0 of the other",
                                options.first_position, name(who));
  if (compare_two(what, second, first, tolerance).within)
    compare_logits(what, first, second, tolerance, /*far=*/true);
  else
    one.recorder().not_assessed(fmt::format(
        "only {} can start at a position other than 0, and the other has nothing to compare this with",
        name(who)));
}

void CandidatePair::compare_modes_where(const std::function<bool(const std::string& needs)>& belongs) {
  for (const auto& run : logits_runs(one))
    if (belongs(run.needs))
      compare_with_full_pass(
          run.name, run.needs, [&](Subject& subject) { return run.logits(subject, run.tokens); },
          [&](Subject& subject) { return logits(subject, run.tokens); });
}

void CandidatePair::compare_ways_where(const std::function<bool(const std::string& needs)>& belongs) {
  for (const auto& way : ways([&](const std::string& capability) { return can(capability); },
                              one.specification().max_position_embeddings)) {
    if (way.shows_loss() || !belongs(way.needs())) continue;  // compare_gradients asks for the loss
    const auto sequence = sequence_of(one, way);
    compare_answers([&](Subject& subject) { return run_way(subject, way, sequence); },
                    [&](const at::Tensor& first, const at::Tensor& second) {
                      compare_logits(way.name(), first, second,
                                     noise_of_pass(one, sequence, way.options(), first),
                                     way.options().first_position != 0);
                    });
  }
}

void CandidatePair::compare_evaluation() {
  const auto plain = [](const std::string& needs) {
    return needs == "evaluation" || needs == "first_position";
  };
  compare_modes_where(plain);
  compare_ways_where(plain);
  if (const auto longest = one.probes().longest; longest > 604)
    compare_logits_of(fmt::format("{} tokens", longest), "evaluation", [longest](Subject& subject) {
      return logits(subject, probe(subject, "longest", 1, longest));
    });
  compare_logits_of("a batch of 17", "evaluation",
                    [](Subject& subject) { return logits(subject, probe(subject, "batch", 17, 5)); });
  compare_logits_of("ids 0, 1, 2, 3 and the last", "evaluation",
                    [](Subject& subject) { return logits(subject, special_tokens(subject)); });
  compare_logits_of("dropout 0.1 configured", "dropout", [](Subject& subject) {
    PassOptions configured;
    configured.dropout = 0.1;
    return logits(subject, standard_probe(subject), configured);
  });
  compare_far_positions();
  if (one.missing_parameters().empty() && (other == nullptr || other->missing_parameters().empty())) {
    compare_large_activations();
    compare_logits_of("other weights", "load", [](Subject& subject) {
      const at::NoGradGuard no_gradients;
      at::Tensor shown;
      subject.running();  // the first weights were loaded before
      subject.with_weights(
          discriminating_weights(subject.specification().parameters(), subject.probes().seed + 1),
          [&](Candidate& candidate) { shown = candidate.forward(standard_probe(subject), {}).to(at::kCPU); });
      return shown;
    });
  }
}

// With scores near the largest numbers of float16: where two are nearly the same, rounding decides between
// them, so that it is measured on many rows.
void CandidatePair::compare_large_activations() {
  if (!can("load") || (other != nullptr && other->candidate().type() != one.candidate().type())) return;
  const at::NoGradGuard no_gradients;
  const auto large = large_activations(one).weights;
  const Model rounded(one.specification(), convert(large, one.candidate().type(), one.candidate().device()));
  const Model exact(one.specification(), convert(rounded.weights(), at::kDouble, one.candidate().device()));
  double error = 0;
  for (const auto& tokens : {probe(one, "large activations", 12, 24), standard_probe(one)}) {
    const auto expected = exact.forward(tokens).to(at::kCPU);
    error = std::max(
        error, largest(rounded.forward(tokens).to(at::kCPU, at::kDouble) - expected) / largest(expected));
  }
  const auto question = [&](Subject& subject) {
    at::Tensor shown;
    subject.running();  // the first weights were loaded before
    subject.with_weights(large, [&](Candidate& candidate) {
      shown = candidate.forward(standard_probe(subject), {}).to(at::kCPU);
    });
    return shown;
  };
  compare_answers(question, [&](const at::Tensor& first, const at::Tensor& second) {
    compare_logits("large activations", first, second,
                   Tolerance::absolute(
                       kNoiseFactor * error * largest(finite(first)),
                       fmt::format("{} x the rounding error measured on the reference with these weights, {} "
                                   "of the largest",
                                   kNoiseFactor, number(error))),
                   /*far=*/true);
  });
}

void CandidatePair::compare_training() {
  const auto training = [](const std::string& needs) { return needs == "training"; };
  compare_modes_where(training);
  compare_ways_where(training);
  compare_with_full_pass(
      "training mode, a batch", "training",
      [](Subject& subject) { return logits(subject, probe(subject, "modes", 2, 24), training_options()); },
      [](Subject& subject) { return logits(subject, probe(subject, "modes", 2, 24)); });
  const auto longer = probe(one, "length", 1, fitting_length(one, 100));
  compare_with_full_pass(
      fmt::format("training mode, {} tokens", longer.ids.size(1)), "training",
      [&](Subject& subject) { return logits(subject, longer, training_options()); },
      [&](Subject& subject) { return logits(subject, longer); });
}

void CandidatePair::compare_padding() {
  compare_ways_where([](const std::string& needs) { return needs.starts_with("padding"); });
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    const auto needs = "padding." + name;
    for (const std::int64_t length : {24, 9, 1}) {
      const auto what = fmt::format("{} padded {} to 31", reports::counted(length, "token"), name);
      const auto full = [length](Subject& subject) {
        return logits(subject, probe(subject, "padded", 1, length));
      };
      compare_with_full_pass(
          what, needs,
          [&](Subject& subject) {
            return padded_logits(subject, probe(subject, "padded", 1, length), 31, side);
          },
          full);
      compare_with_full_pass(
          what + ", alone in its batch", needs,
          [&](Subject& subject) { return padded_alone(subject, length, side); }, full);
      if (can(needs))
        compare_logits_of(what + ", training", "training", [&](Subject& subject) {
          return padded_logits(subject, probe(subject, "padded", 1, length), 31, side, training_options());
        });
    }
  }
  if (compared == 0 && other != nullptr) not_assessed("padding could be compared on neither side");
}

at::Tensor CandidatePair::padded_alone(Subject& subject, std::int64_t length, Padding side) {
  const auto ids = probe(subject, "padded", 1, length).ids, fill = at::zeros({1, 31 - length}, at::kLong);
  const bool right = side == Padding::right;
  return logits(subject, {at::cat({right ? ids : fill, right ? fill : ids}, 1), {length}, side})
      .narrow(1, right ? 0 : 31 - length, length);
}

void CandidatePair::compare_decoding() {
  const auto cached = [](const std::string& needs) { return needs.starts_with("cache"); };
  compare_modes_where(cached);
  compare_ways_where(cached);
  compare_with_full_pass(
      "decoding of 5 sequences", "cache",
      [](Subject& subject) {
        return cached_logits(subject, probe(subject, "five", 5, 21), prefill_then_single_tokens(13, 21));
      },
      [](Subject& subject) { return logits(subject, probe(subject, "five", 5, 21)); });
  for (const double value : {3e4, -3e4})
    compare_with_full_pass(
        fmt::format("{} in every unwritten slot", number(value)), "cache.fill",
        [value](Subject& subject) {
          return logits_with_filled_slots(subject, standard_probe(subject), value);
        },
        [](Subject& subject) { return logits(subject, standard_probe(subject)); });
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    const std::function<std::vector<at::Tensor>(Subject&)> decoded = [side](Subject& subject) {
      return decode_padded_batch(subject, side);
    };
    const std::function<std::vector<at::Tensor>(Subject&)> rows_alone = [](Subject& subject) {
      std::vector<at::Tensor> all;
      for (const auto& row : unpadded_sequences(subject)) all.push_back(logits(subject, row));
      return all;
    };
    compare_or_stand_in("cache.padding." + name, decoded, rows_alone,
                        [&](const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second) {
                          for (std::size_t row = 0; row < first.size(); ++row)
                            compare_logits(fmt::format("row {} of prompts padded {} and decoded", row, name),
                                           first[row], second[row], one.noise("logits", first[row]));
                        });
  }
}

}  // namespace plumbline
