#include "harness/judging/traits_of_stage.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "harness/model/formulas.hpp"
#include "harness/result/traits.hpp"

using namespace plumbline;

namespace {

at::Tensor drawn(at::IntArrayRef shape) {
  at::manual_seed(3);
  return at::randn(shape, at::kDouble);
}

// What is said of a stage that should be `expected` and is `actual`.
std::string said(const std::string& kind, const at::Tensor& actual, const at::Tensor& expected,
                 WrongStage wrong = {}) {
  wrong.stage = {kind, 0};
  wrong.actual = actual;
  wrong.expected = expected;
  wrong.bound = at::full_like(expected, 1e-6);
  std::string all;
  for (const auto& trait : traits_of(wrong)) all += (all.empty() ? "" : "; ") + reports::sentence_of(trait);
  return all;
}

const at::Tensor kFlat = drawn({2, 12, 16}), kHeads = drawn({2, 12, 4, 8}), kSquare = drawn({2, 4, 12, 12});

at::Tensor with_mask(const at::Tensor& visible) {
  return kSquare.masked_fill(~visible, -std::numeric_limits<double>::infinity());
}

}  // namespace

TEST_CASE("traits: one number that all elements share is told", "[judging][traits]") {
  CHECK(said("gate", 0.9 * kFlat, kFlat) == "each element is 0.9 times what its inputs call for");
  CHECK(said("gate", kFlat + 0.25, kFlat) == "0.25 is added to each element");
  CHECK(said("gate", 0 * kFlat, kFlat) == "all of it is 0");
  CHECK(said("gate", kFlat.clamp(-1, 1), kFlat).find("no element is beyond 1, where they should reach ") !=
        std::string::npos);
  CHECK(said("gate", kFlat.to(at::kBFloat16).to(at::kDouble), kFlat).ends_with("it is rounded to bfloat16"));
  CHECK(said("gate", kFlat.to(at::kHalf).to(at::kDouble), kFlat).ends_with("it is rounded to float16"));
  auto broken = kFlat.clone();
  broken[0][1][2] = std::numeric_limits<double>::quiet_NaN();
  CHECK(said("gate", broken, kFlat) == "1 of its elements are NaN or infinite");
}

TEST_CASE("traits: rounding is told of a wider model alone, and of no more than rounding",
          "[judging][traits]") {
  WrongStage narrow;
  narrow.type = at::kBFloat16;
  CHECK(said("gate", kFlat.to(at::kBFloat16).to(at::kDouble), kFlat, narrow).find("rounded") ==
        std::string::npos);
  CHECK(said("gate", kFlat.sign(), kFlat).find("rounded") == std::string::npos);
}

TEST_CASE("traits: the parts of an axis that alone are wrong are told", "[judging][traits]") {
  auto part = kHeads.clone();
  part.select(2, 3).mul_(2);
  CHECK(said("q", part, kHeads) == "wrong only at head 3; each element is 2 times what its inputs call for");
  auto later = kFlat.clone();
  later.narrow(1, 5, 7).mul_(-1);
  CHECK(said("gate", later, kFlat) ==
        "wrong only at position 5 to 11; each element is -1 times what its inputs call for");
}

TEST_CASE("traits: parts that are multiplied, moved or exchanged are told", "[judging][traits]") {
  const auto factors = at::linspace(0.5, 2, 16, at::kDouble);
  CHECK(said("attention_norm", kFlat * factors, kFlat) ==
        "each coordinate is multiplied by a number of its own: 0.5 to 2");
  CHECK(said("logits", kFlat.roll(1, 1), kFlat) ==
        "each position holds what belongs to an earlier one, at a distance of 1 (negative: to a later one)");
  const auto order = at::tensor({2, 0, 3, 1}, at::kLong);
  CHECK(said("k", kHeads.index_select(2, order), kHeads) == "its heads are in another order: 2, 0, 3, 1");
  WrongStage context;
  context.head_size = 8;
  CHECK(said("context", kHeads.transpose(2, 3).flatten(2), kHeads.flatten(2), context) ==
        "its heads are joined coordinate by coordinate, not one after another");
}

TEST_CASE("traits: a mask is told by the keys that are seen", "[judging][traits]") {
  const auto all = at::ones({12, 12}, at::kBool), causal = all.tril();
  const auto expected = with_mask(causal);
  CHECK(said("scores", with_mask(all), expected) == "queries see later keys, up to a distance of 11");
  CHECK(said("scores", with_mask(all.tril(1)), expected) == "queries see later keys, up to a distance of 1");
  CHECK(said("scores", with_mask(causal & all.triu(-3)), expected) ==
        "queries do not see keys at a distance of 4 to 11 before them");
  CHECK(said("scores", with_mask(causal) * 2, expected) ==
        "each element is 2 times what its inputs call for");
  const auto probabilities = at::softmax(expected, -1);
  CHECK(said("probabilities", probabilities * 0.5, probabilities) ==
        "the probabilities of a query add up to 0.5");
}

TEST_CASE("traits: a rotation is told by the positions that it has", "[judging][traits]") {
  const auto frequencies = at::tensor({1.0, 0.3, 0.1, 0.02}, at::kDouble);
  const auto turned = [&](const at::Tensor& positions) {
    return rotate(kHeads, rotary_angles(positions.expand({2, 12}), frequencies), Rotary::halves);
  };
  const auto positions = at::arange(12);
  WrongStage wrong;
  wrong.turned = [&](std::int64_t later) { return std::optional(turned(positions + later)); };
  wrong.not_turned = kHeads;
  const auto said_of = [&](const at::Tensor& others) {
    return said("q_rotated", turned(others), turned(positions), wrong);
  };
  CHECK(said_of(positions + 1) == "it is turned as if its position were larger by 1 (negative: smaller)");
  CHECK(said_of(positions.clamp_max(8)) ==
        "wrong only at position 9 to 11; it is turned as if its position were larger by -3 to -1 "
        "(negative: smaller)");
  CHECK(said_of(0 * positions) == "wrong only at position 1 to 11; it is not turned at all");
}

TEST_CASE("traits: a sum and an activation are told by their parts", "[judging][traits]") {
  WrongStage sum;
  at::manual_seed(4);
  sum.branch = at::randn({2, 12, 16}, at::kDouble);
  CHECK(said("after_attention", kFlat + 0.9 * *sum.branch, kFlat + *sum.branch, sum) ==
        "it is 1 times the residual stream plus 0.9 times what is added to it");
  WrongStage unit;
  unit.gate = drawn({2, 24, 32});
  unit.up = at::randn({2, 24, 32}, at::kDouble);
  const auto gated = said("gated", unit.gate->relu() * *unit.up, at::silu(*unit.gate) * *unit.up, unit);
  CHECK(gated.starts_with("it is up times another function of gate, in which -1.2"));
  CHECK(gated.find(" becomes 0, and ") != std::string::npos);
  const auto capped = said("logits", kSquare.flatten(0, 1).tanh(), kSquare.flatten(0, 1));
  CHECK(capped.starts_with("each element depends on its own right value alone: -1.2"));
}

TEST_CASE("traits: of what is wrong in no simple way nothing is said", "[judging][traits]") {
  at::manual_seed(5);
  const auto other = at::randn({2, 12, 16}, at::kDouble);
  CHECK(said("gate", other, kFlat).empty());
  CHECK(said("gate", kFlat + 0.1 * other, kFlat).empty());
  CHECK(said("gate", other.narrow(2, 0, 8), kFlat).empty());
  CHECK(said("q", kHeads.square(), kHeads) != "its heads are in another order: 0, 1, 2, 3");
}
