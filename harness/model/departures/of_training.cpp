#include "harness/model/departures/departure.hpp"

#include <atomic>
#include <utility>

namespace plumbline::departing {
namespace {

using at::Tensor;

// -log p of each label by the logits `shift` places before it, 0 where it counts for nothing: (B, T - shift).
Tensor surprises(const Tensor& logits, const Tensor& labels, std::int64_t shift) {
  const auto length = labels.size(1);
  const auto predicted = logits.narrow(1, 0, length - shift).flatten(0, 1);
  const auto wanted = labels.narrow(1, shift, length - shift).to(logits.device());
  return at::cross_entropy_loss(predicted.to(accumulation_type(logits.scalar_type())), wanted.flatten(), {},
                                at::Reduction::None, kIgnored)
      .view_as(wanted);
}

Tensor mean_over_labels(const Tensor& logits, const Tensor& labels, std::int64_t shift) {
  const auto counted = (labels != kIgnored).narrow(1, shift, labels.size(1) - shift).sum();
  return surprises(logits, labels, shift).sum() / counted.to(logits.device());
}

// AdamW that takes every step for the one of this number.
template <std::int64_t number>
void corrected_as_at_step(Departed& d) {
  d.formulas.optimise = [](const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t,
                           const AdamW& numbers) {
    return adamw(parameter, gradient, moments, number, numbers);
  };
}

template <typename Probabilities>
void draw_otherwise(Departed& d, Probabilities probabilities) {
  d.formulas.probabilities = probabilities;
}

// Of these the largest, as long as they stay within the share together, and the first in any case.
Tensor without_crossing(const Tensor& probabilities, double share) {
  const auto [sorted, order] = probabilities.sort(/*stable=*/true, 0, /*descending=*/true);
  auto crossing = sorted.cumsum(0) > share;
  crossing[0] = false;
  const auto kept = probabilities.index_fill(0, order.masked_select(crossing), 0);
  return kept / kept.sum();
}

// Chapter 9: Training.
const std::vector<Departure> kOfTraining = {
    {"loss-unshifted",
     [](Departed& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return mean_over_labels(logits, labels, 0);
       };
     }},
    {"loss-shifted-twice",
     [](Departed& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return mean_over_labels(logits, labels, std::min<std::int64_t>(2, labels.size(1) - 1));
       };
     }},
    {"loss-over-ignored",
     [](Departed& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return surprises(logits, labels, 1).mean();
       };
     }},
    {"loss-ignored-as-token-0",
     [](Departed& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return next_token_loss(logits, labels.clamp_min(0));
       };
     }},
    {"loss-without-token-0",
     [](Departed& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return next_token_loss(logits, labels.masked_fill(labels == 0, kIgnored));
       };
     }},
    {"loss-mean-of-means",
     [](Departed& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         const auto counted = (labels != kIgnored).narrow(1, 1, labels.size(1) - 1).sum(1).clamp_min(1);
         return (surprises(logits, labels, 1).sum(1) / counted.to(logits.device())).mean();
       };
     }},
    {"gradient-not-through-embedding",
     [](Departed& d) {
       d.formulas.embed = [](const Tensor& embedding, const Tensor&) { return embedding.detach(); };
     }},
    {"mask-inverted-in-training", in_training<mask_inverted>},
    {"adamw-decay-in-gradient",
     [](Departed& d) {
       d.formulas.optimise = [](const Tensor& parameter, const Tensor& gradient, Moments& moments,
                                std::int64_t step, const AdamW& numbers) {
         auto without = numbers;
         without.weight_decay = 0;
         return adamw(parameter, gradient + numbers.weight_decay * parameter, moments, step, without);
       };
     }},
    {"adamw-uncorrected", corrected_as_at_step<1'000'000>},
    {"adamw-step-stays-1", corrected_as_at_step<1>},
    {"optimiser-of-other-parameters",
     [](Departed& d) {
       d.formulas.optimise = [](const Tensor& parameter, const Tensor&, Moments&, std::int64_t,
                                const AdamW&) { return parameter; };
     }},
};

// Chapter 10: Sampled text.
const std::vector<Departure> kOfText = {
    {"text-temperature-multiplied",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         if (!sampling.greedy()) sampling.temperature = 1 / sampling.temperature;
         return next_probabilities(logits, before, sampling);
       });
     }},
    {"text-top-p-before-temperature",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         if (sampling.greedy()) return next_probabilities(logits, before, sampling);
         const auto scores = penalised(logits.to(at::kDouble), before, sampling.repetition_penalty);
         return at::softmax(nucleus(largest_k(scores, sampling.top_k), sampling.top_p) / sampling.temperature,
                            0);
       });
     }},
    {"text-top-k-one-more",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         if (sampling.top_k > 0) ++sampling.top_k;
         return next_probabilities(logits, before, sampling);
       });
     }},
    {"text-top-p-stops-short",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         const double share = std::exchange(sampling.top_p, 1);
         return share < 1 ? without_crossing(next_probabilities(logits, before, sampling), share)
                          : next_probabilities(logits, before, sampling);
       });
     }},
    {"text-penalty-divides-all",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         const double penalty = std::exchange(sampling.repetition_penalty, 1);
         const auto scores = logits.to(at::kDouble);
         return next_probabilities(scores.index_copy(0, before, scores.index_select(0, before) / penalty),
                                   before, sampling);
       });
     }},
    {"text-penalty-per-occurrence",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         const double penalty = std::exchange(sampling.repetition_penalty, 1);
         auto scores = logits.to(at::kDouble);
         for (const auto& token : before.unbind()) scores = penalised(scores, token.view(1), penalty);
         return next_probabilities(scores, before, sampling);
       });
     }},
    {"text-penalty-not-on-prompt",
     [](Departed& d) {
       draw_otherwise(d,
                      [](const Tensor& logits, const Tensor& before, std::int64_t prompt, Sampling sampling) {
                        return next_probabilities(logits, before.slice(0, prompt), sampling);
                      });
     }},
    {"text-greedy-samples",
     [](Departed& d) {
       draw_otherwise(d, [](const Tensor& logits, const Tensor& before, std::int64_t, Sampling sampling) {
         if (sampling.greedy()) sampling.temperature = 1;
         return next_probabilities(logits, before, sampling);
       });
     }},
    {"text-seed-ignored",
     [](Departed& d) {
       d.formulas.random = [](std::uint32_t, std::uint64_t row, std::uint64_t step) {
         static std::atomic<std::uint32_t> calls{0};
         return uniform_of(++calls, row, step);
       };
     }},
    {"text-rows-alike",
     [](Departed& d) {
       d.formulas.random = [](std::uint32_t seed, std::uint64_t, std::uint64_t step) {
         return uniform_of(seed, 0, step);
       };
     }},
    {"text-end-ignored",
     [](Departed& d) { d.formulas.ends = [](std::int64_t, std::int64_t) { return false; }; }},
    {"text-after-padding",
     [](Departed& d) {
       d.formulas.last = [](const Tensor& logits, const Tensor&) {
         return logits.select(1, logits.size(1) - 1);
       };
     }},
};

}  // namespace

const std::vector<Departure>& of_training() {
  return kOfTraining;
}

const std::vector<Departure>& of_text() {
  return kOfText;
}

}  // namespace plumbline::departing
