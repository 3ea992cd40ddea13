// Chapter 8: numbers, against computations that share no code with the candidate.
#include <algorithm>
#include <optional>
#include <stdexcept>

#include "harness/judging/large_activations.hpp"
#include "harness/judging/probes.hpp"
#include "harness/judging/ways.hpp"
#include "harness/model/engine.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// Selects the positions that the golden file stores: `values` (B, T, ...) or, of scores and probabilities,
// (B, H, T, S).
at::Tensor stored_rows(const at::Tensor& values, const std::string& kind, const GoldenProbe& probe) {
  return values.to(at::kDouble).index_select(has_keys(kind) ? 2 : 1, probe.positions);
}

// Sets rows of padding, which have no meaning, to 0.
at::Tensor real_rows_only(const at::Tensor& values, const std::string& kind, const GoldenProbe& probe) {
  if (probe.tokens.padding == Padding::none) return values;
  auto real = real_tokens(probe.tokens).index_select(1, probe.positions);  // (B, R)
  if (has_keys(kind)) real = real.unsqueeze(1);
  while (real.dim() < values.dim()) real = real.unsqueeze(-1);
  return values.masked_fill(~real, 0);
}

}  // namespace

namespace {

// Compares our own float64 pass, which judges candidates, with the oracle's numbers, where both have the same
// weights. Errors: std::runtime_error.
void require_exact_yardstick(Subject& subject) {
  if (!subject.golden() || subject.candidate().type() != at::kFloat || !subject.can("load") ||
      !subject.missing_parameters().empty())
    return;
  const auto& golden = *subject.golden();
  const bool other_weights = golden.seed() != subject.probes().seed;
  std::optional<Model> with_golden_weights;
  if (other_weights)
    with_golden_weights.emplace(
        subject.specification(),
        convert(discriminating_weights(subject.specification().parameters(), golden.seed()), at::kDouble,
                subject.candidate().device()));
  const auto& exact = other_weights ? *with_golden_weights : subject.exact();
  for (const auto& probe : golden.probes()) {
    if (probe.tokens.padding != Padding::none || probe.tokens.ids.numel() > 64) continue;
    const auto actual = stored_rows(exact.forward(probe.tokens).to(at::kCPU), "logits", probe);
    const auto expected = golden.stage(probe, {"logits"});
    const auto check =
        compare(fmt::format("Plumbline's own float64 logits of probe {}", probe.name), actual, expected,
                Tolerance::absolute(1e-11 * largest(expected), "float64 rounding, with room"));
    if (!check.within)
      throw std::runtime_error(reports::sentence_of(check) + ": the golden tensors cannot be used to judge");
  }
}

// Whether the candidate supports this padding.
bool supports(Subject& subject, Padding padding) {
  return padding == Padding::none ||
         subject.can(padding == Padding::right ? "padding.right" : "padding.left");
}

// Records how near the nearest check came to its tolerance as a finding.
class Nearest {
 public:
  explicit Nearest(Recorder& recorder) : recorder_(recorder) {}
  void update(const reports::Check& check) {
    if (!check.tolerance || *check.tolerance <= 0 || !check.worst_difference) return;
    const double share = *check.worst_difference / *check.tolerance;
    if (share > share_) share_ = share, what_ = check.what;
  }
  ~Nearest() {
    if (!what_.empty())
      recorder_.finding(
          fmt::format("nearest to its tolerance: {}, {} of what is allowed", what_, number(share_)));
  }

 private:
  Recorder& recorder_;
  double share_ = -1;
  std::string what_;
};

}  // namespace

namespace {

// Compares the stages of full passes.
void compare_stages_with_golden(Subject& subject, const Golden& golden) {
  Nearest nearest(subject.recorder());
  for (const auto& probe : golden.probes()) {
    if (!supports(subject, probe.tokens.padding)) {
      subject.recorder().finding(
          fmt::format("probe {} was left out: the candidate takes no such padding", probe.name));
      continue;
    }
    const auto stages = observe(subject, probe.tokens);
    for (const auto& stage : probe.stages) {
      // A candidate without positions may count padding; only the rotation depends on that.
      if (probe.tokens.padding == Padding::left && stage.kind.ends_with("_rotated") &&
          !subject.can("first_position"))
        continue;
      const auto found = stages.find(stage);
      if (found == stages.end() && sum_in_place_of(stage, stages)) continue;
      if (found == stages.end()) {
        subject.recorder().not_assessed(fmt::format("the candidate does not show {}", stage));
        continue;
      }
      auto actual = stored_rows(found->second, stage.kind, probe);
      const auto expected = golden.stage(probe, stage);
      if (stage.kind == "scores" && actual.sizes() == expected.sizes())
        actual = hidden_as_infinity(actual, expected.isfinite());
      const auto check =
          compare(fmt::format("{} of probe {}", stage, probe.name), real_rows_only(actual, stage.kind, probe),
                  real_rows_only(expected, stage.kind, probe),
                  golden.tolerance(fmt::format("{}/{}", probe.name, stage)));
      nearest.update(check);
      expect(subject, check);
    }
  }
}

}  // namespace

REQUIREMENT("NUM-1", "every recorded stage of a full pass agrees with the golden tensors") {
  with_golden_weights(subject, [&](const Golden& golden) { compare_stages_with_golden(subject, golden); });
}

namespace {

// Compares logits and cache contents of decoding.
void decode_golden_probes(Subject& subject, const Golden& golden) {
  const at::NoGradGuard no_gradients;
  const auto& s = subject.specification();
  bool any = false;
  for (const auto& probe : golden.probes()) {
    const auto length = probe.tokens.ids.size(1);
    // MODE-8 compares padded batches. Where no decoding was recorded, the logits of a full pass are the same.
    if (probe.tokens.padding != Padding::none || length > 64) continue;
    any = true;
    const auto decoding = subject.running().decode(probe.tokens.ids.size(0), length);
    std::vector<at::Tensor> steps;
    for (std::int64_t step = 0; step < length; ++step)
      steps.push_back(
          decoding->extend({probe.tokens.ids.narrow(1, step, 1), {}, Padding::none}, {}).to(at::kCPU));
    expect_close(subject, fmt::format("logits of probe {}, one at a time", probe.name),
                 stored_rows(at::cat(steps, 1), "logits", probe),
                 probe.has_decode ? golden.decode_logits(probe) : golden.stage(probe, {"logits"}),
                 golden.tolerance(probe.name + (probe.has_decode ? "/decode/logits" : "/logits")));
    if (!probe.has_cache || !subject.can("cache.show")) continue;
    const auto view = decoding->show();
    for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer)
      for (const auto* side : {"keys", "values"}) {
        if (layer >= static_cast<std::int64_t>(view.layers.size()))
          not_assessed("the cache shows fewer layers than the model has");
        const auto& cached = view.layers[static_cast<std::size_t>(layer)];
        const auto name = fmt::format("{}/cache/layers.{}.{}", probe.name, layer, side);
        expect_close(subject, name, (side == std::string("keys") ? cached.keys : cached.values).to(at::kCPU),
                     golden.cached(probe, layer, side), golden.tolerance(name));
      }
  }
  if (!any) not_assessed("no golden probe is short and without padding");
}

}  // namespace

REQUIREMENT("NUM-2", "at every decoding step, logits and cache contents agree with the golden tensors") {
  with_golden_weights(subject, [&](const Golden& golden) { decode_golden_probes(subject, golden); });
}

REQUIREMENT("NUM-3", "rotation agrees with the golden vectors near the first and the last position") {
  const auto rotation = golden(subject).rotation();
  const auto x = rotation.vectors.to(at::kFloat).unsqueeze(0).unsqueeze(2);  // (1, P, 1, Dh)
  const auto rotated = subject.candidate().rotate(x, rotation.positions.unsqueeze(0)).squeeze(2).squeeze(0);
  expect_close(subject, "rotation", rotated, rotation.rotated, golden(subject).tolerance("rotation/rotated"));
}

REQUIREMENT("NUM-4", "every stage agrees with a float64 replay of its own inputs") {
  const auto all = stage_kinds();
  const auto tokens = probe(subject, "replay", 2, 19);
  expect_replayed(subject, all, observe(subject, tokens), tokens, "evaluation");
  if (subject.can("training"))
    expect_replayed(subject, all, observe(subject, tokens, training_options()), tokens, "training");
  if (subject.can("cache.chunks"))
    expect_replayed(subject, all, observe_cached(subject, tokens, {6, 1, 1, 8, 1, 1, 1}), tokens,
                    "through the cache");
}

REQUIREMENT("NUM-5", "no stage contains NaN or infinity") {
  const auto tokens = probe(subject, "finite", 2, 24);
  // Scores of hidden keys may be arbitrarily low.
  const auto hidden = [&](const Stage& stage, const at::Tensor& values) {
    return stage.kind == "scores" ? (values < -1e3) & ~causal_mask_of(tokens) : at::Tensor();
  };
  const auto expect_finite = [&](const Stages& stages, const std::string& mode) {
    for (const auto& [stage, values] : stages)
      expect(subject, all_finite(fmt::format("{} ({})", stage, mode), values, hidden(stage, values)));
  };
  expect_finite(observe(subject, tokens), "evaluation");
  if (subject.can("training")) expect_finite(observe(subject, tokens, training_options()), "training");
  if (subject.can("cache.chunks"))
    expect_finite(observe_cached(subject, tokens, {10, 1, 13}), "through the cache");
}

namespace {

// Rounding grows with the length, so that it is measured anew for long passes, by the engine: its time is a
// fraction of the eager model's.
Tolerance noise_of(Subject& subject, const Tokens& tokens, const at::Tensor& expected) {
  auto tolerance = subject.noise("logits", expected);
  if (tokens.ids.size(1) <= 64) return tolerance;
  const Engine rounded(subject.specification(), subject.rounded().weights());
  const double error = largest(finite(rounded.forward(tokens).to(at::kCPU)) - finite(expected));
  if (const double measured = kNoiseFactor * error; measured > tolerance.bound.item<double>()) {
    tolerance.bound = at::scalar_tensor(measured, at::kDouble);
    tolerance.reason = fmt::format("{} x the {} rounding error measured there on the reference, {}",
                                   kNoiseFactor, type_name(subject.candidate().type()), number(error));
  }
  return tolerance;
}

}  // namespace

REQUIREMENT("NUM-6", "logits agree with a float64 run of the specification on the same weights") {
  const at::NoGradGuard no_gradients;
  require_exact_yardstick(subject);
  Nearest nearest(subject.recorder());
  const auto longest = std::min<std::int64_t>(600, subject.specification().max_position_embeddings);
  for (const auto& tokens : {standard_probe(subject), probe(subject, "same weights", 2, 33),
                             probe(subject, "one", 1, 1), probe(subject, "600", 1, longest)}) {
    const auto expected = subject.exact().forward(tokens).to(at::kCPU);
    const auto check =
        compare(fmt::format("logits of {} x {} tokens", tokens.ids.size(0), tokens.ids.size(1)),
                logits(subject, tokens), expected, noise_of(subject, tokens, expected));
    nearest.update(check);
    expect(subject, check);
  }
}

REQUIREMENT("NUM-7", "gradients agree with those of a float64 run of the specification") {
  for_each_gradient_probe(
      subject, [&](const std::string& need) { return subject.can(need); },
      [&](const GradientProbe& one) {
        Gradients actual;
        try {
          actual = subject.candidate().gradients(one.tokens, one.labels, one.options);
        } catch (const NotShown& why) {
          if (one.options.training || !subject.can("training")) throw;
          subject.recorder().finding(fmt::format("no gradients in {}: {}", one.name, why.what()));
          return;
        }
        auto exact = one.exact.parameters;
        merge_untied_head(actual.parameters, exact);
        expect_close(subject, fmt::format("loss ({})", one.name), actual.loss, one.exact.loss.to(at::kCPU),
                     one.allowed(one.exact.loss));
        // A model may evaluate by copies of weights that take no gradient; it is trained in training mode.
        const bool may_lack = !one.options.training && subject.can("training");
        std::vector<std::string> lacking;
        for (const auto& [name, expected] : exact) {
          if (subject.missing_parameters().contains(name)) continue;  // PAR-2 reports it
          const auto found = actual.parameters.find(name);
          if (found == actual.parameters.end()) {
            subject.recorder().not_assessed(fmt::format("the candidate shows no gradient of {}", name));
            continue;
          }
          if (may_lack && largest(found->second) == 0)
            lacking.push_back(name);
          else
            expect_close(subject, fmt::format("gradient of {} ({})", name, one.name),
                         found->second.to(at::kCPU), expected.to(at::kCPU), one.allowed(expected));
        }
        if (!lacking.empty())
          subject.recorder().finding(
              fmt::format("no gradient in {} of {} of {} parameters, first {}; they have one in training",
                          one.name, lacking.size(), exact.size(), lacking.front()));
      });
}

REQUIREMENT("NUM-8", "logits are proportional to the final norm's weight") {
  const at::NoGradGuard no_gradients;
  constexpr double kFactor = 64;
  const std::string name = "model.norm.weight";
  if (subject.missing_parameters().contains(name)) not_assessed(fmt::format("it has no parameter {}", name));
  const auto before = logits(subject, standard_probe(subject)).to(at::kDouble);
  auto louder = subject.weights();
  louder.at(name) = louder.at(name) * kFactor;
  subject.with_weights(louder, [&](Candidate& candidate) {
    const auto after = candidate.forward(standard_probe(subject), {}).to(at::kCPU, at::kDouble);
    const auto expected = before * kFactor;
    expect_close(
        subject, fmt::format("logits with the final norm's weight times {}", kFactor), after, expected,
        Tolerance::absolute(4 * unit_roundoff(candidate.type()) * largest(finite(expected)),
                            "a power of two scales without rounding: four roundings of the largest"));
  });
}

namespace {

// The first position (of dimension 1) at which a logit is off by more than `bound`.
std::optional<std::int64_t> first_wrong_position(const at::Tensor& actual, const at::Tensor& expected,
                                                 double bound) {
  if (actual.sizes() != expected.sizes()) return std::nullopt;
  const auto right = ((actual.to(at::kDouble) - expected).abs() <= bound).all(2).all(0);  // (T), NaN: wrong
  const auto wrong = (~right).nonzero();
  if (wrong.size(0) == 0) return std::nullopt;
  return wrong[0].item<std::int64_t>();
}

}  // namespace

REQUIREMENT("NUM-9",
            "logits agree at every position of the longest pass, in one piece and through the cache") {
  const at::NoGradGuard no_gradients;
  require_exact_yardstick(subject);
  constexpr std::int64_t kDecoded = 4;
  const auto longest = subject.probes().longest;
  const auto tokens = probe(subject, "longest", 1, longest);
  const Engine exact(subject.specification(), subject.exact().weights());
  const auto expected = exact.forward(tokens).to(at::kCPU);
  const auto tolerance = noise_of(subject, tokens, expected);
  const auto expect_agreement = [&](const std::string& what, const at::Tensor& actual) {
    expect_close(subject, what, actual, expected, tolerance);
    const auto first = first_wrong_position(actual, expected, tolerance.bound.item<double>());
    if (!first) return;
    subject.recorder().finding(fmt::format(
        "{}: wrong from position {} on{}", what, *first,
        *first < 64 ? "" : "; look for a window, or a table of masks or positions, of that size"));
    subject.note_wrong_length(std::min(longest, *first + 8));
  };
  expect_agreement(fmt::format("logits of {} tokens", longest), logits(subject, tokens));
  if (subject.can("cache") && longest > kDecoded)
    expect_agreement(
        fmt::format("logits of {} tokens prefilled, then {} one at a time", longest - kDecoded, kDecoded),
        cached_logits(subject, tokens, prefill_then_single_tokens(longest - kDecoded, longest)));
}

REQUIREMENT("NUM-10", "logits are exact with activations and scores near the largest numbers of float16") {
  const at::NoGradGuard no_gradients;
  const auto large = large_activations(subject);
  const Model rounded(subject.specification(),
                      convert(large.weights, subject.candidate().type(), subject.candidate().device()));
  const Model exact(subject.specification(),
                    convert(rounded.weights(), at::kDouble, subject.candidate().device()));
  subject.recorder().finding(
      fmt::format("the residual stream begins with coordinates of up to {}, scores reach {}",
                  number(large.residual), number(large.scores)));
  // Where two scores are nearly the same, rounding decides between them: many rows tell how far that goes,
  // and leave less to chance.
  constexpr double kFactor = kNoiseFactor / 2;
  const auto error_of = [&](const Tokens& tokens, const at::Tensor& expected) {
    return largest(rounded.forward(tokens).to(at::kCPU, at::kDouble) - expected) / largest(expected);
  };
  const auto many = probe(subject, "large activations", 12, 24);
  const double usual = error_of(many, exact.forward(many).to(at::kCPU));
  subject.with_weights(large.weights, [&](Candidate&) {
    for (const auto& way :
         simple_ways([&](const std::string& capability) { return subject.can(capability); })) {
      const auto sequence = sequence_of(subject, way);
      const auto expected = exact.forward(sequence).to(at::kCPU);
      const double error = std::max(usual, error_of(sequence, expected));
      expect_close(subject, fmt::format("logits ({})", way.name()), run_way(subject, way, sequence), expected,
                   Tolerance::absolute(
                       kFactor * error * largest(expected),
                       fmt::format("{} x the {} rounding error measured on the reference with these weights, "
                                   "{} of the largest",
                                   kFactor, type_name(subject.candidate().type()), number(error))));
    }
  });
}

}  // namespace plumbline
