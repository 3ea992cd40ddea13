#include "harness/model/departures/departure.hpp"

#include <atomic>
#include <utility>

namespace plumbline::departures {
namespace {

using at::Tensor;

// How many labels of each row the loss counts: (B). The first is predicted by nothing.
Tensor counted_labels(const Tensor& labels) {
  return (labels != kIgnoredLabel).narrow(1, 1, labels.size(1) - 1).sum(1);
}

template <typename Change>
void change_labels(DepartedModel& d, Change change) {
  compose(d.formulas.loss, [change](const auto& loss, const Tensor& logits, const Tensor& labels) {
    return loss(logits, change(labels));
  });
}

// The mean of the rows' losses; a row without a label counts as 0.
Tensor mean_of_means(const std::function<Tensor(const Tensor&, const Tensor&)>& loss, const Tensor& logits,
                     const Tensor& labels) {
  std::vector<Tensor> rows;
  for (std::int64_t row = 0; row < labels.size(0); ++row) {
    const auto of_row = labels.narrow(0, row, 1);
    const auto logits_of_row = logits.narrow(0, row, 1);
    rows.push_back(counted_labels(of_row).item<std::int64_t>() == 0
                       ? logits_of_row.sum().to(accumulation_type(logits.scalar_type())) * 0
                       : loss(logits_of_row, of_row));
  }
  return at::stack(rows).mean();
}

// Corrects AdamW's moments at every step as if it were this one.
template <std::int64_t number>
void correct_bias_as_at_step(DepartedModel& d) {
  compose(d.formulas.optimiser_step,
          [](const auto& optimiser_step, const Tensor& parameter, const Tensor& gradient, Moments& moments,
             std::int64_t,
             const AdamW& numbers) { return optimiser_step(parameter, gradient, moments, number, numbers); });
}

using Probabilities = std::function<Tensor(const Tensor& logits, const Tensor& previous, std::int64_t prompt,
                                           const Sampling& sampling)>;

// Changes the settings that sampling goes by.
template <typename Change>
void change_sampling(DepartedModel& d, Change change) {
  compose(d.formulas.token_probabilities,
          [change](const Probabilities& probabilities, const Tensor& logits, const Tensor& previous,
                   std::int64_t prompt, Sampling sampling) {
            change(sampling);
            return probabilities(logits, previous, prompt, sampling);
          });
}

// Applies the repetition penalty in another way: apply(scores, previous, penalty).
template <typename Apply>
void change_penalty(DepartedModel& d, Apply apply) {
  compose(d.formulas.token_probabilities, [apply](const Probabilities& probabilities, const Tensor& logits,
                                                  const Tensor& previous, std::int64_t prompt,
                                                  Sampling sampling) {
    const double penalty = std::exchange(sampling.repetition_penalty, 1);
    return probabilities(apply(logits.to(at::kDouble), previous, penalty), previous, prompt, sampling);
  });
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
       compose(d.formulas.loss, [](const auto& loss, const Tensor& logits, const Tensor& labels) {
         return loss(at::constant_pad_nd(logits, {0, 0, 0, 1}), at::constant_pad_nd(labels, {1, 0}));
       });
     }},
    {"loss-shifted-twice",
     [](DepartedModel& d) {
       compose(d.formulas.loss, [](const auto& loss, const Tensor& logits, const Tensor& labels) {
         const auto rest = labels.size(1) - 1;
         return rest < 2 ? loss(logits, labels) : loss(logits.narrow(1, 0, rest), labels.narrow(1, 1, rest));
       });
     }},
    {"loss-over-ignored",
     [](DepartedModel& d) {
       compose(d.formulas.loss, [](const auto& loss, const Tensor& logits, const Tensor& labels) {
         const auto all = to_double(labels.size(0) * (labels.size(1) - 1));
         return loss(logits, labels) * (counted_labels(labels).sum().template item<double>() / all);
       });
     }},
    {"loss-ignored-as-token-0",
     [](DepartedModel& d) { change_labels(d, [](const Tensor& labels) { return labels.clamp_min(0); }); }},
    {"loss-without-token-0",
     [](DepartedModel& d) {
       change_labels(d, [](const Tensor& labels) { return labels.masked_fill(labels == 0, kIgnoredLabel); });
     }},
    {"loss-of-mask",
     [](DepartedModel& d) {
       change_labels(d,
                     [](const Tensor& labels) { return (labels != kIgnoredLabel).to(labels.scalar_type()); });
     }},
    {"loss-without-last",
     [](DepartedModel& d) {
       change_labels(d, [](const Tensor& labels) {
         const auto last = at::arange(labels.size(1), labels.options()) == labels.size(1) - 1;
         return labels.size(1) < 3 ? labels : labels.masked_fill(last, kIgnoredLabel);
       });
     }},
    {"loss-sum",
     [](DepartedModel& d) {
       compose(d.formulas.loss, [](const auto& loss, const Tensor& logits, const Tensor& labels) {
         return loss(logits, labels) * counted_labels(labels).sum();
       });
     }},
    {"loss-smoothed",
     [](DepartedModel& d, double share) {
       d.formulas.loss = [share](const Tensor& logits, const Tensor& labels) {
         const auto rest = labels.size(1) - 1;
         return at::cross_entropy_loss(
             logits.narrow(1, 0, rest).flatten(0, 1).to(accumulation_type(logits.scalar_type())),
             labels.narrow(1, 1, rest).flatten().to(logits.device()), {}, at::Reduction::Mean, kIgnoredLabel,
             share);
       };
     },
     nullptr,
     DepartureParameter{"{} of every label is spread over all tokens",
                        [](const Specification&) { return 0.1; },
                        {0.05, 0.01, 0.2},
                        nullptr,
                        true}},
    {"loss-mean-of-means", [](DepartedModel& d) { compose(d.formulas.loss, mean_of_means); }},
    {"gradient-not-through-embedding",
     [](DepartedModel& d) {
       compose(d.formulas.transform_embedding,
               [](const auto& transform, const Tensor& embedding, const Tensor& ids) {
                 return transform(embedding, ids).detach();
               });
     }},
    {"mask-inverted-in-training",
     [](DepartedModel& d) {
       compose(d.formulas.attention_mask, [](const Mask& mask, const MaskInputs& inputs) {
         return inputs.training ? mask_inverted(mask, inputs) : mask(inputs);
       });
     }},
    {"adamw-decay-in-gradient",
     [](DepartedModel& d) {
       compose(d.formulas.optimiser_step,
               [](const auto& optimiser_step, const Tensor& parameter, const Tensor& gradient,
                  Moments& moments, std::int64_t step, const AdamW& numbers) {
                 auto without = numbers;
                 without.weight_decay = 0;
                 return optimiser_step(parameter, gradient + numbers.weight_decay * parameter, moments, step,
                                       without);
               });
     }},
    {"adamw-uncorrected", correct_bias_as_at_step<1'000'000>},
    {"adamw-step-stays-1", correct_bias_as_at_step<1>},
    {"adamw-anew-each-step",
     [](DepartedModel& d) {
       compose(d.formulas.optimiser_step,
               [](const auto& optimiser_step, const Tensor& parameter, const Tensor& gradient, Moments&,
                  std::int64_t, const AdamW& numbers) {
                 Moments none;
                 return optimiser_step(parameter, gradient, none, 1, numbers);
               });
     }},
    {"gradient-not-zeroed",
     [](DepartedModel& d) {
       d.formulas.step_gradient = [](const Tensor& gradient, const Tensor& before) {
         return before.defined() ? before + gradient : gradient;
       };
     }},
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
       change_sampling(d, [](Sampling& sampling) {
         if (!sampling.greedy()) sampling.temperature = 1 / sampling.temperature;
       });
     }},
    {"text-top-p-before-temperature",
     [](DepartedModel& d) {
       compose(d.formulas.token_probabilities, [](const Probabilities& probabilities, const Tensor& logits,
                                                  const Tensor& previous, std::int64_t prompt,
                                                  const Sampling& sampling) {
         if (sampling.greedy()) return probabilities(logits, previous, prompt, sampling);
         const auto scores =
             penalise_repetition(logits.to(at::kDouble), previous, sampling.repetition_penalty);
         return at::softmax(
             keep_top_p(keep_top_k(scores, sampling.top_k), sampling.top_p) / sampling.temperature, 0);
       });
     }},
    {"text-top-k-one-more",
     [](DepartedModel& d) {
       change_sampling(d, [](Sampling& sampling) {
         if (sampling.top_k > 0) ++sampling.top_k;
       });
     }},
    {"text-top-p-stops-short",
     [](DepartedModel& d) {
       compose(d.formulas.token_probabilities,
               [](const Probabilities& probabilities, const Tensor& logits, const Tensor& previous,
                  std::int64_t prompt, Sampling sampling) {
                 const double share = std::exchange(sampling.top_p, 1);
                 const auto all = probabilities(logits, previous, prompt, sampling);
                 return share < 1 ? top_p_without_crossing_token(all, share) : all;
               });
     }},
    {"text-penalty-divides-all",
     [](DepartedModel& d) {
       change_penalty(d, [](const Tensor& scores, const Tensor& previous, double penalty) {
         return scores.index_copy(0, previous, scores.index_select(0, previous) / penalty);
       });
     }},
    {"text-penalty-per-occurrence",
     [](DepartedModel& d) {
       change_penalty(d, [](Tensor scores, const Tensor& previous, double penalty) {
         for (const auto& token : previous.unbind())
           scores = penalise_repetition(scores, token.view(1), penalty);
         return scores;
       });
     }},
    {"text-penalty-not-on-prompt",
     [](DepartedModel& d) {
       compose(d.formulas.token_probabilities,
               [](const Probabilities& probabilities, const Tensor& logits, const Tensor& previous,
                  std::int64_t prompt, const Sampling& sampling) {
                 return probabilities(logits, previous.slice(0, prompt), 0, sampling);
               });
     }},
    {"text-greedy-samples",
     [](DepartedModel& d) {
       change_sampling(d, [](Sampling& sampling) {
         if (sampling.greedy()) sampling.temperature = 1;
       });
     }},
    {"text-seed-ignored",
     [](DepartedModel& d) {
       compose(d.formulas.random_number,
               [](const auto& random_number, std::uint32_t, std::uint64_t row, std::uint64_t step) {
                 static std::atomic<std::uint32_t> calls{0};
                 return random_number(++calls, row, step);
               });
     }},
    {"text-rows-alike",
     [](DepartedModel& d) {
       compose(d.formulas.random_number, [](const auto& random_number, std::uint32_t seed, std::uint64_t,
                                            std::uint64_t step) { return random_number(seed, 0, step); });
     }},
    {"text-end-ignored",
     [](DepartedModel& d) {
       d.formulas.ends_text = [](std::int64_t, std::optional<std::int64_t>) { return false; };
     }},
    {"text-end-or-2",
     [](DepartedModel& d) {
       compose(d.formulas.ends_text,
               [](const auto& ends_text, std::int64_t token, std::optional<std::int64_t> end) {
                 return ends_text(token, end.value_or(0) != 0 ? end : 2);
               });
     }},
    {"text-column-by-count",
     [](DepartedModel& d) {
       d.formulas.last_logits = [](const Tensor& logits, const Tensor& real) {
         const auto last = (real.sum(1) - 1).clamp_min(0).view({-1, 1, 1}).expand({-1, 1, logits.size(2)});
         return logits.gather(1, last).squeeze(1);
       };
     }},
    {"text-after-padding",
     [](DepartedModel& d) {
       d.formulas.last_logits = [](const Tensor& logits, const Tensor&) {
         return logits.select(1, logits.size(1) - 1);
       };
     }},
    {"text-penalty-twice",
     [](DepartedModel& d) {
       change_sampling(
           d, [](Sampling& sampling) { sampling.repetition_penalty *= sampling.repetition_penalty; });
     }},
    {"text-ends-with-first-row",
     [](DepartedModel& d) {
       d.formulas.stops = [](const std::vector<bool>& ended) {
         return std::find(ended.begin(), ended.end(), true) != ended.end();
       };
     }},
    {"text-length-with-prompt",
     [](DepartedModel& d) {
       d.formulas.tokens_to_write = [](std::int64_t most_tokens, std::int64_t prompt) {
         return std::max<std::int64_t>(most_tokens - prompt, 0);
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
