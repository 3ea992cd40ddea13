#include "harness/judging/expectations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "harness/judging/passes.hpp"

namespace plumbline {

void expect(Subject& subject, reports::Check check) {
  subject.recorder().add(std::move(check));
}

void expect_close(Subject& subject, const std::string& what, const at::Tensor& actual,
                  const at::Tensor& expected, const Tolerance& tolerance) {
  expect(subject, compare(what, actual, expected, tolerance));
}

void expect_equal(Subject& subject, const std::string& what, const std::string& actual,
                  const std::string& expected) {
  expect(subject, compare_text(what, actual, expected));
}

void expect_equal(Subject& subject, const std::string& what, std::int64_t actual, std::int64_t expected) {
  expect_equal(subject, what, std::to_string(actual), std::to_string(expected));
}

void expect_differs(Subject& subject, const std::string& what, const at::Tensor& one, const at::Tensor& other,
                    double least, const std::string& why) {
  reports::Check check;
  check.what = what;
  check.elements = one.numel();
  const double difference = largest(one.to(at::kDouble) - other.to(at::kDouble));
  check.within = difference >= least;
  check.actual = number(difference);
  check.expected = "at least " + number(least);
  check.tolerance_reason = why;
  check.form = reports::Form::change;
  expect(subject, std::move(check));
}

void expect_that(Subject& subject, bool holds, const std::string& what, const std::string& actual,
                 const std::string& expected) {
  auto check = compare_text(what, actual, expected);
  check.within = holds;
  expect(subject, std::move(check));
}

void expect_distinguishable(Subject& subject, const std::string& what, const at::Tensor& actual,
                            const at::Tensor& expected,
                            const std::vector<std::pair<std::string, at::Tensor>>& mistakes,
                            const Tolerance& tolerance) {
  for (const auto& [name, mistake] : mistakes) {
    const auto distance =
        ((finite(expected) - finite(mistake)).abs() / tolerance.bound.clamp_min(1e-300)).max().item<double>();
    if (!(distance >= 10))
      throw std::runtime_error(
          fmt::format("{}: this probe cannot tell {} from what is right ({} tolerances apart)", what, name,
                      number(distance)));
  }
  expect_close(subject, what, actual, expected, tolerance);
}

std::optional<Replayed> try_replay(Subject& subject, const Stage& stage, const Stages& shown,
                                   const Tokens& tokens, std::int64_t first_position) {
  const at::NoGradGuard no_gradients;
  const auto positions =
      (at::arange(tokens.ids.size(1), at::kLong) + first_position).unsqueeze(0).expand_as(tokens.ids);
  return replay(stage, shown, subject.exact_weights(), subject.specification(), tokens.ids, positions,
                causal_mask_of(tokens), subject.running().type());
}

Replayed require_replay(Subject& subject, const Stage& stage, const Stages& shown, const Tokens& tokens,
                        std::int64_t first_position) {
  auto replay = try_replay(subject, stage, shown, tokens, first_position);
  if (!replay) not_assessed(fmt::format("the candidate does not show the inputs of {}", stage));
  return *std::move(replay);
}

void expect_replayed(Subject& subject, const std::vector<std::string>& kinds, const Stages& shown,
                     const Tokens& tokens, const std::string& mode, std::int64_t first_position) {
  bool any = false;
  const auto is_asked_for = [&](const std::string& kind) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  for (const auto& product : stages_in_order(subject.specification().num_hidden_layers)) {
    if (!is_asked_for(product.kind)) continue;
    const auto sum = sum_in_place_of(product, shown);
    if (sum && is_asked_for(sum->kind)) continue;
    const auto& stage = sum ? *sum : product;
    const auto actual = shown.find(stage);
    const auto replay =
        actual == shown.end() ? std::nullopt : try_replay(subject, stage, shown, tokens, first_position);
    if (!replay) {
      subject.recorder().not_assessed(fmt::format("the candidate does not show {} or its inputs", stage));
      continue;
    }
    any = true;
    const auto value =
        stage.kind == "scores" ? hidden_as_infinity(actual->second, causal_mask_of(tokens)) : actual->second;
    expect_close(subject, fmt::format("{} ({})", stage, mode), value, replay->expected, replay->tolerance);
  }
  if (!any) not_assessed("the candidate shows none of these stages");
}

}  // namespace plumbline
