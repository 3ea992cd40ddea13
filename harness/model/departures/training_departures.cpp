#include "harness/model/departures/departure.hpp"

#include <atomic>
#include <utility>

namespace plumbline::departures {
namespace {

using at::Tensor;

// -ln p of each label by the logits `shift` places before it, 0 for ignored labels: (B, T - shift).
Tensor label_losses(const Tensor& logits, const Tensor& labels, std::int64_t shift) {
  const auto length = labels.size(1);
  const auto predicted = logits.narrow(1, 0, length - shift).flatten(0, 1);
  const auto targets = labels.narrow(1, shift, length - shift).to(logits.device());
  return at::cross_entropy_loss(predicted.to(accumulation_type(logits.scalar_type())), targets.flatten(), {},
                                at::Reduction::None, kIgnoredLabel)
      .view_as(targets);
}

Tensor mean_over_labels(const Tensor& logits, const Tensor& labels, std::int64_t shift) {
  const auto counted = (labels != kIgnoredLabel).narrow(1, shift, labels.size(1) - shift).sum();
  return label_losses(logits, labels, shift).sum() / counted.to(logits.device());
}

// Corrects AdamW's moments at every step as if it were this one.
template <std::int64_t number>
void correct_bias_as_at_step(DepartedModel& d) {
  d.formulas.optimiser_step = [](const Tensor& parameter, const Tensor& gradient, Moments& moments,
                                 std::int64_t, const AdamW& numbers) {
    return adamw(parameter, gradient, moments, number, numbers);
  };
}

template <typename Probabilities>
void set_probabilities(DepartedModel& d, Probabilities probabilities) {
  d.formulas.token_probabilities = probabilities;
}

// Keeps the most probable tokens whose total is at most `share`, and the first in any case.
Tensor top_p_without_crossing_token(const Tensor& probabilities, double share) {
  const auto [sorted, order] = probabilities.sort(/*stable=*/true, 0, /*descending=*/true);
  auto crossing = sorted.cumsum(0) > share;
  crossing[0] = false;
  const auto kept = probabilities.index_fill(0, order.masked_select(crossing), 0);
  return kept / kept.sum();
}

// Chapter 9: Training.
const std::vector<Departure> kTrainingDepartures = {
    {"loss-unshifted",
     [](DepartedModel& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return mean_over_labels(logits, labels, 0);
       };
     }},
    {"loss-shifted-twice",
     [](DepartedModel& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return mean_over_labels(logits, labels, std::min<std::int64_t>(2, labels.size(1) - 1));
       };
     }},
    {"loss-over-ignored",
     [](DepartedModel& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return label_losses(logits, labels, 1).mean();
       };
     }},
    {"loss-ignored-as-token-0",
     [](DepartedModel& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return next_token_loss(logits, labels.clamp_min(0));
       };
     }},
    {"loss-without-token-0",
     [](DepartedModel& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         return next_token_loss(logits, labels.masked_fill(labels == 0, kIgnoredLabel));
       };
     }},
    {"loss-mean-of-means",
     [](DepartedModel& d) {
       d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
         const auto counted = (labels != kIgnoredLabel).narrow(1, 1, labels.size(1) - 1).sum(1).clamp_min(1);
         return (label_losses(logits, labels, 1).sum(1) / counted.to(logits.device())).mean();
       };
     }},
    {"gradient-not-through-embedding",
     [](DepartedModel& d) {
       d.formulas.transform_embedding = [](const Tensor& embedding, const Tensor&) {
         return embedding.detach();
       };
     }},
    {"mask-inverted-in-training", mask_in_training<mask_inverted>},
    {"adamw-decay-in-gradient",
     [](DepartedModel& d) {
       d.formulas.optimiser_step = [](const Tensor& parameter, const Tensor& gradient, Moments& moments,
                                      std::int64_t step, const AdamW& numbers) {
         auto without = numbers;
         without.weight_decay = 0;
         return adamw(parameter, gradient + numbers.weight_decay * parameter, moments, step, without);
       };
     }},
    {"adamw-uncorrected", correct_bias_as_at_step<1'000'000>},
    {"adamw-step-stays-1", correct_bias_as_at_step<1>},
    {"optimiser-of-other-parameters",
     [](DepartedModel& d) {
       d.formulas.optimiser_step = [](const Tensor& parameter, const Tensor&, Moments&, std::int64_t,
                                      const AdamW&) { return parameter; };
     }},
    {"weights-before-steps-in-evaluation",
     [](DepartedModel& d) {
       d.formulas.evaluated_weights = [](const Weights& loaded, const Weights&) { return loaded; };
     }},
};

// Chapter 10: Sampled text.
const std::vector<Departure> kTextDepartures = {
    {"text-temperature-multiplied",
     [](DepartedModel& d) {
       set_probabilities(d,
                         [](const Tensor& logits, const Tensor& previous, std::int64_t, Sampling sampling) {
                           if (!sampling.greedy()) sampling.temperature = 1 / sampling.temperature;
                           return next_probabilities(logits, previous, sampling);
                         });
     }},
    {"text-top-p-before-temperature",
     [](DepartedModel& d) {
       set_probabilities(
           d, [](const Tensor& logits, const Tensor& previous, std::int64_t, Sampling sampling) {
             if (sampling.greedy()) return next_probabilities(logits, previous, sampling);
             const auto scores =
                 penalise_repetition(logits.to(at::kDouble), previous, sampling.repetition_penalty);
             return at::softmax(
                 keep_top_p(keep_top_k(scores, sampling.top_k), sampling.top_p) / sampling.temperature, 0);
           });
     }},
    {"text-top-k-one-more",
     [](DepartedModel& d) {
       set_probabilities(d,
                         [](const Tensor& logits, const Tensor& previous, std::int64_t, Sampling sampling) {
                           if (sampling.top_k > 0) ++sampling.top_k;
                           return next_probabilities(logits, previous, sampling);
                         });
     }},
    {"text-top-p-stops-short",
     [](DepartedModel& d) {
       set_probabilities(
           d, [](const Tensor& logits, const Tensor& previous, std::int64_t, Sampling sampling) {
             const double share = std::exchange(sampling.top_p, 1);
             return share < 1
                        ? top_p_without_crossing_token(next_probabilities(logits, previous, sampling), share)
                        : next_probabilities(logits, previous, sampling);
           });
     }},
    {"text-penalty-divides-all",
     [](DepartedModel& d) {
       set_probabilities(d, [](const Tensor& logits, const Tensor& previous, std::int64_t,
                               Sampling sampling) {
         const double penalty = std::exchange(sampling.repetition_penalty, 1);
         const auto scores = logits.to(at::kDouble);
         return next_probabilities(scores.index_copy(0, previous, scores.index_select(0, previous) / penalty),
                                   previous, sampling);
       });
     }},
    {"text-penalty-per-occurrence",
     [](DepartedModel& d) {
       set_probabilities(d,
                         [](const Tensor& logits, const Tensor& previous, std::int64_t, Sampling sampling) {
                           const double penalty = std::exchange(sampling.repetition_penalty, 1);
                           auto scores = logits.to(at::kDouble);
                           for (const auto& token : previous.unbind())
                             scores = penalise_repetition(scores, token.view(1), penalty);
                           return next_probabilities(scores, previous, sampling);
                         });
     }},
    {"text-penalty-not-on-prompt",
     [](DepartedModel& d) {
       set_probabilities(
           d, [](const Tensor& logits, const Tensor& previous, std::int64_t prompt, Sampling sampling) {
             return next_probabilities(logits, previous.slice(0, prompt), sampling);
           });
     }},
    {"text-greedy-samples",
     [](DepartedModel& d) {
       set_probabilities(d,
                         [](const Tensor& logits, const Tensor& previous, std::int64_t, Sampling sampling) {
                           if (sampling.greedy()) sampling.temperature = 1;
                           return next_probabilities(logits, previous, sampling);
                         });
     }},
    {"text-seed-ignored",
     [](DepartedModel& d) {
       d.formulas.random_number = [](std::uint32_t, std::uint64_t row, std::uint64_t step) {
         static std::atomic<std::uint32_t> calls{0};
         return uniform_of(++calls, row, step);
       };
     }},
    {"text-rows-alike",
     [](DepartedModel& d) {
       d.formulas.random_number = [](std::uint32_t seed, std::uint64_t, std::uint64_t step) {
         return uniform_of(seed, 0, step);
       };
     }},
    {"text-end-ignored",
     [](DepartedModel& d) {
       d.formulas.ends_text = [](std::int64_t, std::optional<std::int64_t>) { return false; };
     }},
    {"text-end-or-2",
     [](DepartedModel& d) {
       d.formulas.ends_text = [](std::int64_t token, std::optional<std::int64_t> end) {
         return token == (end.value_or(0) != 0 ? *end : 2);
       };
     }},
    {"text-after-padding",
     [](DepartedModel& d) {
       d.formulas.last_logits = [](const Tensor& logits, const Tensor&) {
         return logits.select(1, logits.size(1) - 1);
       };
     }},
};

}  // namespace

const std::vector<Departure>& training_departures() {
  return kTrainingDepartures;
}

const std::vector<Departure>& text_departures() {
  return kTextDepartures;
}

}  // namespace plumbline::departures
