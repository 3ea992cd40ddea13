// Chapter 9: the initial loss, the loss and its gradients, and training steps.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "harness/candidate/leak.hpp"
#include "harness/judging/probes.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// The candidate's losses on several batches: tokens and labels (N, B, T) -> (N). By training steps with a
// learning rate of 0 where it trains, since these transfer no gradients.
at::Tensor batch_losses(Subject& subject, const at::Tensor& tokens, const at::Tensor& labels) {
  if (subject.can("train"))
    return subject.running()
        .train({tokens, labels, {.learning_rate = 0}}, false)
        .losses.to(at::kCPU, at::kDouble);
  std::vector<at::Tensor> all;
  for (std::int64_t i = 0; i < tokens.size(0); ++i)
    all.push_back(subject.running()
                      .gradients({tokens[i], {}, Padding::none}, labels[i], {})
                      .loss.to(at::kCPU, at::kDouble));
  return at::stack(all);
}

// The logits on which the candidate's losses are computed, from its own pass in the same mode.
at::Tensor logits_of_loss(Subject& subject, const Tokens& tokens) {
  const auto shown =
      logits(subject, tokens,
             subject.can("train") && subject.can("training") ? training_options() : PassOptions{})
          .to(at::kDouble);
  expect(subject, all_finite("logits of which the loss is taken", shown));
  return shown;
}

// -ln p of each label by the logits `shift` places before it, 0 for the first `shift` labels: logits (B, T,
// V), labels (B, T) -> (B, T) float64.
at::Tensor label_losses(const at::Tensor& logits, const at::Tensor& labels, std::int64_t shift) {
  const auto all = -at::log_softmax(logits.to(at::kDouble), -1);  // (B, T, V)
  const auto length = labels.size(1);
  const auto targets = labels.clamp_min(0).narrow(1, shift, length - shift).unsqueeze(-1);
  const auto found = all.narrow(1, 0, length - shift).gather(-1, targets).squeeze(-1);
  return at::constant_pad_nd(found, {shift, 0});
}

// A change of the logits changes a log-probability by at most twice as much; the loss is a mean in float32.
// In other types two passes over the same tokens may differ by a few roundings of the logits.
Tolerance loss_tolerance(Subject& subject, const at::Tensor& logits) {
  const auto type = subject.candidate().type();
  if (type == at::kFloat)
    return Tolerance::absolute(2 * subject.noise("logits", logits).bound.max().item<double>() + 1e-5,
                               "two logits' rounding, and a float32 mean's");
  return Tolerance::absolute(4 * unit_roundoff(type) * largest(logits),
                             fmt::format("four roundings of the largest logit to {}", type_name(type)));
}

// Expects that `actual` is `expected` and none of the mistakes. Mistakes that rounding hides here are left
// out.
void expect_none_of(Subject& subject, const std::string& what, const at::Tensor& actual,
                    const at::Tensor& expected, std::vector<std::pair<std::string, at::Tensor>> mistakes,
                    const Tolerance& tolerance) {
  const double least = 10 * tolerance.bound.max().item<double>();
  std::erase_if(mistakes, [&](const auto& mistake) {
    const bool alike = !(largest(mistake.second - expected) >= least);
    if (alike)
      subject.recorder().finding(fmt::format("{}: {} would give the same value here", what, mistake.first));
    return alike;
  });
  if (mistakes.empty()) not_assessed("every mistake comes to the same with this model and type");
  for (const auto& [name, wrong] : mistakes)
    if (largest(actual - wrong) <= least / 10)
      subject.recorder().finding(
          fmt::format("{}: this is the value for {}; if your trainer takes care of this, name the loss that "
                      "it uses: Module(loss=...)",
                      what, name));
  expect_distinguishable(subject, what, actual, expected, mistakes, tolerance);
}

// Labels that losses are known to leave out, since tokenizers give these ids to padding, the beginning and
// the end: each where it is least likely, beside the likeliest label of all.
struct SpecialLabels {
  std::vector<std::int64_t> ids;
  at::Tensor labels;  // (ids, B, T)
};

SpecialLabels labels_of_special_tokens(const at::Tensor& logits) {
  const auto batch = logits.size(0), length = logits.size(1), vocabulary = logits.size(2);
  auto each = at::log_softmax(logits.to(at::kDouble), -1).narrow(1, 0, length - 1).flatten(0, 1).contiguous();
  SpecialLabels found{{0, 1, 2}, {}};
  const auto ids = at::tensor(found.ids, at::kLong);
  const auto likeliest =
      each.index_fill(1, ids, -std::numeric_limits<double>::infinity()).argmax().item<std::int64_t>();
  each[likeliest / vocabulary].fill_(0);  // that place is taken
  std::vector<at::Tensor> all;
  for (const auto id : found.ids) {
    auto labels = at::full({batch, length}, kIgnoredLabel, at::kLong);
    const auto label_at = [&](std::int64_t place) {
      return labels[place / (length - 1)][place % (length - 1) + 1];
    };
    label_at(likeliest / vocabulary).fill_(likeliest % vocabulary);
    label_at(each.select(1, id).argmin().item<std::int64_t>()).fill_(id);
    all.push_back(labels);
  }
  found.labels = at::stack(all);
  return found;
}

// losses: (ids). Each is held against the loss without that label.
void expect_every_label_counts(Subject& subject, const at::Tensor& losses, const at::Tensor& logits,
                               const SpecialLabels& special) {
  for (std::size_t i = 0; i < special.ids.size(); ++i) {
    const auto labels = special.labels[static_cast<std::int64_t>(i)];
    const auto each = label_losses(logits, labels, 1);
    const auto mean_of = [&](const at::Tensor& counted) {
      const auto weights = counted.to(at::kDouble);
      return (each * weights).sum() / weights.sum();
    };
    const auto counted = labels != kIgnoredLabel;
    expect_none_of(subject, fmt::format("loss of token {} and another as labels", special.ids[i]),
                   losses[static_cast<std::int64_t>(i)], mean_of(counted),
                   {{"the other label alone", mean_of(counted & (labels != special.ids[i]))}},
                   loss_tolerance(subject, logits));
  }
}

// The parameters that either the candidate or the specification lacks.
std::set<std::string> parameters_of_one_only(Subject& subject) {
  auto all = subject.missing_parameters();
  for (const auto& parameter : subject.description().parameters) all.insert(parameter.name);
  for (const auto& parameter : subject.specification().parameters())
    if (!subject.missing_parameters().contains(parameter.name)) all.erase(parameter.name);
  return all;
}

// values: (N), of steps 1 to N.
reports::Series series_by_step(const std::string& name, const at::Tensor& values) {
  reports::Series series{name, {}, {}, {}, {}};
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    series.x.push_back(static_cast<double>(i + 1));
    series.y.push_back(values[i].item<double>());
  }
  return series;
}

// AdamW with a large learning rate that does not diverge: the change that a step makes to a layer's output
// grows with its width (Yang et al. 2021, table 3).
AdamW fast_adamw(Subject& subject) {
  return {.learning_rate = 0.5 / static_cast<double>(subject.specification().hidden_size), .beta2 = 0.95};
}

}  // namespace

REQUIREMENT("TRN-1", "a model as it initialises itself starts at a loss near ln V") {
  const double uniform_loss = std::log(static_cast<double>(subject.specification().vocab_size));
  const auto tokens = probe(subject, "first loss", 8, 33);
  subject.with_weights(subject.candidate().initialise(1), [&](Candidate& fresh) {
    const at::NoGradGuard no_gradients;
    const auto logits = fresh.forward(tokens, {}).to(at::kCPU, at::kDouble);
    const double first = next_token_loss(logits, tokens.ids).item<double>();
    expect_that(subject, first >= uniform_loss - 0.16 && first <= uniform_loss + 0.34, "first loss",
                fmt::format("{:.4f}", first),
                fmt::format("{:.2f} to {:.2f}, near ln {} = {:.2f}: before training all tokens are about as "
                            "likely",
                            uniform_loss - 0.16, uniform_loss + 0.34, subject.specification().vocab_size,
                            uniform_loss));
  });
}

REQUIREMENT("TRN-2", "a label is compared with the logits of the token before it: shifted exactly once") {
  const at::NoGradGuard no_gradients;
  const auto tokens = probe(subject, "label shift", 2, 13);
  const auto shown = logits_of_loss(subject, tokens);
  if (!shown.isfinite().all().item<bool>()) return;
  const auto log_p = at::log_softmax(shown, -1);
  const std::vector<std::pair<std::int64_t, std::int64_t>> places = {{0, 2}, {1, 7}, {0, 12}};
  std::vector<at::Tensor> labels;
  for (const auto& [row, t] : places) {
    // The label whose loss differs most between the three shifts.
    const at::Tensor shifted = log_p[row][t - 1], unshifted = log_p[row][t], twice = log_p[row][t - 2];
    labels.push_back(at::full_like(tokens.ids, kIgnoredLabel));
    labels.back()[row][t].copy_(at::minimum((shifted - unshifted).abs(), (shifted - twice).abs()).argmax());
  }
  const auto count = static_cast<std::int64_t>(places.size());
  const auto actual = batch_losses(subject, tokens.ids.expand({count, 2, 13}), at::stack(labels));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto row = places[static_cast<std::size_t>(i)].first,
               t = places[static_cast<std::size_t>(i)].second;
    const auto loss_with = [&](std::int64_t shift) -> at::Tensor {
      return label_losses(shown, labels[static_cast<std::size_t>(i)], shift)[row][t];
    };
    expect_none_of(subject,
                   fmt::format("loss of the label at {} alone (unshifted it would be {}, shifted twice {})",
                               t, number(loss_with(0).item<double>()), number(loss_with(2).item<double>())),
                   actual[i], loss_with(1),
                   {{"an unshifted label", loss_with(0)}, {"one shifted twice", loss_with(2)}},
                   loss_tolerance(subject, shown));
  }
}

REQUIREMENT("TRN-3", "only ignored labels do not count, and the loss is the mean over all others") {
  const at::NoGradGuard no_gradients;
  const auto tokens = probe(subject, "ignored labels", 3, 11);
  const auto shown = logits_of_loss(subject, tokens);
  if (!shown.isfinite().all().item<bool>()) return;
  // Unlikely labels in the first row, likely ones in the others, and a different share ignored in each row,
  // so that every wrong mean gives another value. The label at 0 has no token before it and does not count.
  auto ragged = probe(subject, "labels", 3, 11).ids;
  ragged[0].narrow(0, 1, 10).copy_(shown[0].narrow(0, 0, 10).argmin(-1));
  for (const std::int64_t row : {1, 2})
    ragged[row].narrow(0, 1, 10).copy_(shown[row].narrow(0, 0, 10).argmax(-1));
  auto prompt = ragged.clone();
  ragged[0].narrow(0, 3, 8).fill_(kIgnoredLabel);
  ragged[1].narrow(0, 3, 6).fill_(kIgnoredLabel);
  prompt.narrow(1, 0, 4).fill_(kIgnoredLabel);
  prompt[0].narrow(0, 5, 6).fill_(kIgnoredLabel);
  prompt[1].narrow(0, 6, 4).fill_(kIgnoredLabel);
  const auto special = labels_of_special_tokens(shown);
  const auto actual = batch_losses(subject, tokens.ids.expand({5, 3, 11}),
                                   at::cat({at::stack({ragged, prompt}), special.labels}));
  expect_every_label_counts(subject, actual.narrow(0, 2, 3), shown, special);
  for (std::int64_t i = 0; i < 2; ++i) {
    const auto& labels = i == 0 ? ragged : prompt;
    const auto counted = (labels != kIgnoredLabel).narrow(1, 1, 10).to(at::kDouble);  // (B, T - 1)
    const auto losses = label_losses(shown, labels, 1).narrow(1, 1, 10);              // (B, T - 1)
    const auto sum = (losses * counted).sum();
    const auto over_all = sum / 30, as_token_0 = losses.sum() / 30;
    const auto of_rows = ((losses * counted).sum(1) / counted.sum(1)).mean();
    expect_none_of(
        subject,
        fmt::format("loss where {} (a mean over ignored labels too would be {}, with those taken for token 0 "
                    "{}, a mean of the sequences' means {}, a sum {})",
                    i == 0 ? "answers are of unlike length" : "prompts are ignored",
                    number(over_all.item<double>()), number(as_token_0.item<double>()),
                    number(of_rows.item<double>()), number(sum.item<double>())),
        actual[i], sum / counted.sum(),
        {{"a mean over ignored labels too", over_all},
         {"ignored labels taken for token 0", as_token_0},
         {"a mean of the sequences' means", of_rows},
         {"a sum", sum}},
        loss_tolerance(subject, shown));
  }
}

namespace {

void compare_slopes_with_golden(Subject& subject, const Golden& golden) {
  auto expected = golden.slopes();
  if (!expected)
    not_assessed(
        "its golden tensors have no gradients; make them again with `plumbline golden make`, which adds "
        "gradients");
  auto actual = subject.running().gradients(expected->tokens, expected->labels,
                                            subject.can("training") ? training_options() : PassOptions{});
  merge_untied_head(actual.parameters, expected->by_parameter);
  expect_close(subject, "loss", actual.loss.to(at::kCPU).reshape({}), expected->loss,
               golden.tolerance("gradients/loss"));
  for (const auto& [name, expected_slopes] : expected->by_parameter) {
    const auto gradient = actual.parameters.find(name);
    if (gradient == actual.parameters.end()) {
      subject.recorder().not_assessed(fmt::format("the candidate shows no gradient of {}", name));
      continue;
    }
    expect_close(subject, fmt::format("slopes of the loss in {}", name),
                 slopes(name, gradient->second, expected->directions, golden.seed()), expected_slopes,
                 golden.tolerance("gradients/slopes/" + name));
  }
}

}  // namespace

REQUIREMENT("TRN-4", "slopes of the loss in every parameter agree with the golden ones") {
  with_golden_weights(subject, [&](const Golden& golden) { compare_slopes_with_golden(subject, golden); });
}

REQUIREMENT("TRN-5", "steps of AdamW update every parameter as the formulas say") {
  auto& candidate = subject.running();
  const auto unmatched = parameters_of_one_only(subject);
  if (unmatched.contains("lm_head.weight"))
    not_assessed("a head of its own and the embedding learn apart, which one tied matrix cannot");
  // The second step depends on the first one's moments, and on what it did to a parameter that one of the two
  // lacks.
  const std::int64_t steps = unmatched.empty() ? 2 : 1;
  if (steps == 1)
    subject.recorder().finding(
        fmt::format("only one step was compared: only one of the two models has {}, and a step on it would "
                    "affect the next step; moments carried from step to step were not checked",
                    *unmatched.begin()));
  const auto run = short_training_run(subject, steps);
  auto actual = candidate.train(run, true).parameters;
  const auto exact = train(subject.exact(), run).parameters,
             rounded = train(subject.rounded(), run).parameters;
  const auto change = [&](const Weights& after, const std::string& name) {
    return after.at(name).to(at::kCPU, at::kDouble) - subject.exact().weights().at(name).to(at::kCPU);
  };
  for (const auto& [name, value] : exact) {
    if (subject.missing_parameters().contains(name)) continue;  // PAR-2 reports it
    if (!actual.contains(name)) {
      subject.recorder().not_assessed(fmt::format("the candidate shows no {} after training", name));
      continue;
    }
    // The reference's rounding error may be small by chance; the rounding of stored values bounds it from
    // below.
    const auto expected = change(exact, name), error = change(rounded, name) - expected;
    const double storage_error =
        unit_roundoff(candidate.type()) * largest(subject.exact().weights().at(name));
    auto tolerance = Tolerance::absolute(
        kNoiseFactor * std::max(largest(error), storage_error),
        fmt::format("{} x the rounding error of the same steps on the reference", kNoiseFactor));
    if (expected.numel() > 1)
      tolerance.root_mean_square = kRootMeanSquareFactor * std::max(root_mean_square(error), storage_error);
    expect_close(subject,
                 fmt::format("change of {} in {} of AdamW", name, steps == 1 ? "a step" : "two steps"),
                 change(actual, name), expected, tolerance);
  }
}

REQUIREMENT("TRN-8", "evaluation after steps of the optimiser has the weights that the steps left") {
  const at::NoGradGuard no_gradients;
  auto run = short_training_run(subject, 2);
  run.optimiser = fast_adamw(subject);
  run.evaluated_after = standard_probe(subject).ids;
  const auto before = logits(subject, standard_probe(subject));
  const auto trained = subject.running().train(run, true);
  const auto after = trained.logits.to(at::kCPU);
  const auto unmatched = parameters_of_one_only(subject);
  const bool right = is_right_on_standard_probe(subject);
  if (!unmatched.empty() || !right) {
    subject.recorder().finding("it was only checked that the logits change: " +
                               (right ? *unmatched.begin() + " is in one of the two models only"
                                      : "they were not the specification's before"));
    expect_differs(subject, "logits in evaluation before and after two steps", before, after,
                   10 * subject.noise("logits", before).bound.item<double>(),
                   "the steps changed the weights");
    return;
  }
  const Model exact(subject.specification(),
                    convert(trained.parameters, at::kDouble, subject.candidate().device()));
  const auto expected = exact.forward(standard_probe(subject)).to(at::kCPU);
  expect_close(subject, "logits in evaluation after two steps, by the weights it has then", after, expected,
               subject.noise("logits", expected));
}

REQUIREMENT("TRN-6", "a small batch can be learned by heart") {
  const std::int64_t steps = 16;
  const auto ids = probe(subject, "by heart", 2, 9).ids.expand({steps, 2, 9});
  const auto curve =
      subject.running().train({ids, ids, fast_adamw(subject)}, false).losses.to(at::kCPU, at::kDouble);
  const double first = curve[0].item<double>(), last = curve[steps - 1].item<double>();
  subject.recorder().add_plot({.requirement = {},
                               .title = "Loss on a small batch that is learned by heart",
                               .x_name = "step",
                               .y_name = "loss (nats a token)",
                               .series = {series_by_step("candidate", curve)},
                               .bounds = {{"a quarter of the first", first / 4}}});
  expect(subject, all_finite("losses on the way", curve));
  if (!curve.isfinite().all().item<bool>()) return;
  expect_that(subject, last <= first / 4,
              fmt::format("loss on 16 labels after {} steps on them alone", steps - 1), number(last),
              fmt::format("at most {}, a quarter of the first, {}", number(first / 4), number(first)));
}

REQUIREMENT("TRN-7", "on a source of known probabilities training gains nothing over the source") {
  const auto leak =
      detect_leak(subject.running(), subject.specification().vocab_size, fast_adamw(subject), 1);
  expect_that(
      subject, leak.none(), "largest gain over the source",
      fmt::format("{:.1f} nats, after step {} of {}", leak.largest_gain, leak.largest_gain_step, leak.steps),
      fmt::format("at most {:.1f} nats: without a leak, a larger gain has a chance of 1 in {:.0f}{}",
                  leak.allowed, 1 / kLeakError,
                  leak.rounding_allowance > 1
                      ? fmt::format(", {:.1f} of them for the loss's rounding", leak.rounding_allowance)
                      : ""));
  subject.recorder().add_plot({.requirement = {},
                               .title = "Loss on a source of known probabilities, against the source's own",
                               .x_name = "step",
                               .y_name = "loss (nats a token)",
                               .series = {series_by_step("candidate", leak.loss),
                                          series_by_step("source: its entropy", leak.source_loss)},
                               .bounds = {}});
  subject.recorder().finding(fmt::format(
      "{:.1f} nats in all after {} pairs of tokens with known probabilities", leak.total_gain, leak.pairs));
}

}  // namespace plumbline
