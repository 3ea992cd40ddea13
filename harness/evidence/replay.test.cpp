#include "harness/evidence/replay.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include "harness/system/json.hpp"
#include "harness/system/output.hpp"

using namespace plumbline;

namespace {

constexpr std::int64_t length = 19;

// One observed pass, and what a replay needs to know of it.
struct Pass {
  Specification specification;
  at::ScalarType type;
  at::Tensor ids = probe_tokens("replay", 2, length, 101, 1);
  at::Tensor positions, allowed;
  Weights weights;  // float64, of the values that the model held
  Stages stages;

  Pass(at::ScalarType in, const std::function<void(Specification&)>& change = {}, std::int64_t first = 0)
      : type(in) {
    at::set_num_threads(1);  // on tensors this small, threads wait for each other longer than they work
    const at::NoGradGuard no_gradients;
    specification = find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
    if (change) change(specification);
    const auto held = convert(discriminating_weights(specification.parameters(), 1), type, at::kCPU);
    weights = convert(held, at::kDouble, at::kCPU);
    const auto slots = at::arange(length, at::kLong);
    const auto real = at::ones({2, length}, at::kBool);
    allowed = causal_mask({slots, slots, real, real, false, false});
    positions = (slots + first).unsqueeze(0).expand({2, length});
    PassOptions options;
    options.first_position = first;
    options.observer = [&](const Stage& stage, const at::Tensor& value) { stages[stage] = value.clone(); };
    Model(specification, held).forward({ids, {}, Padding::none}, options);
  }

  std::vector<Stage> in_order() const { return stages_in_order(specification.num_hidden_layers); }
  Replayed right(const Stage& stage, const Stages& shown) const {
    const at::NoGradGuard no_gradients;
    const auto replayed = replay(stage, shown, weights, specification, ids, positions, allowed, type);
    REQUIRE(replayed);
    return *replayed;
  }
  reports::Check judge(const Stage& stage, const Stages& shown) const {
    const auto replayed = right(stage, shown);
    return compare(to_string(stage), shown.at(stage), replayed.expected, replayed.tolerance);
  }
};

// The largest share of its bound that any stage's error takes, printed; every stage has to be within.
double expect_within(const Pass& pass, const std::string& what) {
  double worst = 0;
  std::string where;
  for (const auto& stage : pass.in_order()) {
    const auto check = pass.judge(stage, pass.stages);
    INFO(reports::sentence_of(check));
    CHECK(check.within);
    CHECK(check.elements == pass.stages.at(stage).numel());
    const double share = *check.worst_difference == 0 ? 0 : *check.worst_difference / *check.tolerance;
    if (share > worst) worst = share, where = to_string(stage);
  }
  print_out("replay of {}: the largest error takes {:.2f} of its bound, at {}\n", what, worst, where);
  std::fflush(stdout);
  return worst;
}

// Stages that are not what their inputs call for, in execution order, up to `last`.
std::vector<std::string> wrong_up_to(const Pass& pass, const Stages& shown, const Stage& last) {
  std::vector<std::string> wrong;
  for (const auto& stage : pass.in_order()) {
    if (!pass.judge(stage, shown).within) wrong.push_back(to_string(stage));
    if (stage == last) break;
  }
  return wrong;
}

}  // namespace

TEST_CASE("replay: every stage of an honest pass is within its bound, in each type", "[evidence][replay]") {
  for (const auto& [name, type] : {std::pair{"float32", at::kFloat}, {"bfloat16", at::kBFloat16}}) {
    const auto worst = expect_within(Pass(type), name);
    CHECK(worst > 0.01);  // a bound a hundred times too wide would see nothing
  }
}

TEST_CASE(
    "replay: it follows biases, an untied head, pairs, GELU, plain multi-head attention and norms in "
    "bfloat16",
    "[evidence][replay]") {
  const auto unlike = [](Specification& s) {
    s.attention_bias = s.mlp_bias = true;
    s.tie_word_embeddings = false;
    s.rotary = Rotary::pairs;
    s.hidden_act = Activation::gelu;
    s.num_key_value_heads = s.num_attention_heads;
    s.norm_precision = NormPrecision::model;
  };
  for (const auto& [name, type] :
       {std::pair{"another model in float32", at::kFloat}, {"another model in bfloat16", at::kBFloat16}})
    expect_within(Pass(type, unlike), name);
}

TEST_CASE("replay: far positions are within bounds that grow with them", "[evidence][replay]") {
  for (const auto& [name, type] : {std::pair{"positions near 32767 in float32", at::kFloat},
                                   {"positions near 32767 in bfloat16", at::kBFloat16}})
    expect_within(Pass(type, {}, 32767 - length), name);
  const Pass near(at::kFloat), far(at::kFloat, {}, 32767 - length);
  const auto bound = [](const Pass& pass) {
    return largest(pass.right({"q_rotated", 0}, pass.stages).tolerance.bound);
  };
  CHECK(bound(far) > 500 * bound(near));
}

TEST_CASE("replay: one element altered by 50 bounds is seen at that stage and at none before",
          "[evidence][replay]") {
  const Pass pass(at::kFloat);
  std::int64_t turn = 0;
  for (const auto& stage : pass.in_order()) {
    auto shown = pass.stages;
    auto altered = shown.at(stage).to(at::kDouble).contiguous();
    const auto bound = pass.right(stage, shown).tolerance.bound.expand_as(altered).contiguous().view(-1);
    auto place = (7919 * ++turn) % altered.numel();
    while (!altered.view(-1)[place].isfinite().item<bool>() || (altered.view(-1)[place] == 0).item<bool>())
      place = (place + 1) % altered.numel();
    altered.view(-1)[place] += std::max(50 * bound[place].item<double>(), 1e-9);
    shown[stage] = altered;
    CHECK(wrong_up_to(pass, shown, stage) == std::vector{to_string(stage)});
    const auto check = pass.judge(stage, shown);
    CHECK(reports::sentence_of(check).find("; 1 of ") != std::string::npos);
  }
}

TEST_CASE("replay: a product that starts from the residual stream needs no value of its own",
          "[evidence][replay]") {
  const Pass pass(at::kFloat);
  const Stage sum{"after_attention", 0}, product{"attention_out", 0};
  auto shown = pass.stages;
  CHECK_FALSE(sum_in_place_of(product, shown));
  shown.erase(product);
  CHECK(sum_in_place_of(product, shown) == sum);
  CHECK_FALSE(sum_in_place_of({"gate", 0}, shown));
  const auto rows = [&](const Stage& stage) { return shown.at(stage).flatten(0, 1); };
  const auto projection = pass.weights.at("model.layers.0.self_attn.o_proj.weight").to(at::kFloat);
  shown[sum] = at::addmm(rows({"embedding"}), rows({"context", 0}), projection.t()).view_as(shown.at(sum));
  const auto honest = pass.judge(sum, shown);
  INFO(reports::sentence_of(honest));
  CHECK(honest.within);
  shown[sum] = shown[sum] + 50 * pass.right(sum, shown).tolerance.bound;
  CHECK_FALSE(pass.judge(sum, shown).within);
  shown.erase({"context", 0});
  CHECK_FALSE(sum_in_place_of(product, shown));
  const at::NoGradGuard no_gradients;
  CHECK_FALSE(replay(sum, shown, pass.weights, pass.specification, pass.ids, pass.positions, pass.allowed,
                     pass.type));
}

TEST_CASE("replay: a stage rounded to float16 is seen in a float32 run, at that stage first",
          "[evidence][replay]") {
  const Pass pass(at::kFloat);
  for (const auto& stage : pass.in_order()) {
    auto shown = pass.stages;
    shown[stage] = shown.at(stage).to(at::kHalf).to(at::kFloat);
    CHECK(wrong_up_to(pass, shown, stage) == std::vector{to_string(stage)});
  }
}

TEST_CASE("replay: a key shown to a query that must not see it, or hidden from one that must, is seen",
          "[evidence][replay]") {
  const Pass pass(at::kFloat);
  const Stage scores_in_2{"scores", 2};
  for (const auto& [value, query, key] :
       {std::tuple{0.5f, 3, 4}, {-std::numeric_limits<float>::infinity(), 4, 3}}) {
    auto shown = pass.stages;
    auto& scores = shown[scores_in_2] = shown.at(scores_in_2).clone();
    scores[1][5][query][key] = value;
    CHECK(wrong_up_to(pass, shown, scores_in_2) == std::vector{to_string(scores_in_2)});
  }
}

TEST_CASE("replay: NaN or infinity in a stage is seen there, and passes nowhere after",
          "[evidence][replay]") {
  const Pass pass(at::kFloat);
  const Stage gate_in_1{"gate", 1};
  for (const auto bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto shown = pass.stages;
    auto& gate = shown[gate_in_1] = shown.at(gate_in_1).clone();
    gate[0][3][7] = bad;
    CHECK(wrong_up_to(pass, shown, gate_in_1) == std::vector{to_string(gate_in_1)});
    CHECK_FALSE(pass.judge({"gated", 1}, shown).within);
  }
}

TEST_CASE("replay: without an input there is nothing to judge by", "[evidence][replay]") {
  const Pass pass(at::kFloat);
  const std::map<Stage, Stage> inputs = {{{"attention_norm", 0}, {"embedding"}},
                                         {{"attention_norm", 1}, {"after_feed_forward", 0}},
                                         {{"q", 0}, {"attention_norm", 0}},
                                         {{"k_rotated", 0}, {"k", 0}},
                                         {{"scores", 0}, {"k_rotated", 0}},
                                         {{"probabilities", 0}, {"scores", 0}},
                                         {{"context", 0}, {"v", 0}},
                                         {{"after_attention", 0}, {"embedding"}},
                                         {{"gated", 0}, {"up", 0}},
                                         {{"after_feed_forward", 0}, {"after_attention", 0}},
                                         {{"final_norm"}, {"after_feed_forward", 4}},
                                         {{"logits"}, {"final_norm"}}};
  for (const auto& [stage, input] : inputs) {
    INFO(to_string(stage));
    auto shown = pass.stages;
    shown.erase(input);
    CHECK_FALSE(replay(stage, shown, pass.weights, pass.specification, pass.ids, pass.positions, pass.allowed,
                       pass.type));
  }
}

TEST_CASE("replay: stages are named in execution order", "[evidence][replay]") {
  const auto stages = stages_in_order(2);
  CHECK(stages.size() == 1 + 2 * 17 + 2);
  CHECK(stages.front() == Stage{"embedding"});
  CHECK(stages[1] == Stage{"attention_norm", 0});
  CHECK(stages[18] == Stage{"attention_norm", 1});
  CHECK(stages.back() == Stage{"logits"});
}

TEST_CASE("replay: whatever hides a key reads as minus infinity, and what hides none is left",
          "[evidence][replay]") {
  const auto scores = at::tensor({0.5, -3.4e38, -1e4, 2.0, -5e3, 7.0}, at::kDouble).view({1, 1, 2, 3});
  const auto allowed = at::tensor({1, 0, 0, 1, 1, 0}, at::kLong).to(at::kBool).view({1, 1, 2, 3});
  const auto hidden = hidden_as_infinity(scores, allowed).flatten();
  CHECK(hidden[0].item<double>() == 0.5);
  CHECK(std::isinf(hidden[1].item<double>()));
  CHECK(std::isinf(hidden[2].item<double>()));
  CHECK(hidden[4].item<double>() == -5e3);  // allowed, and so low: that is for the comparison to judge
  CHECK(hidden[5].item<double>() == 7);     // should be hidden and is not
}

TEST_CASE("replay: unit roundoffs are half the distance from 1 to the next number", "[evidence][replay]") {
  CHECK(unit_roundoff(at::kFloat) == std::numeric_limits<float>::epsilon() / 2);
  CHECK(unit_roundoff(at::kDouble) == std::numeric_limits<double>::epsilon() / 2);
  CHECK(unit_roundoff(at::kBFloat16) == std::numeric_limits<c10::BFloat16>::epsilon() / 2);
  CHECK(unit_roundoff(at::kHalf) == std::numeric_limits<c10::Half>::epsilon() / 2);
}

TEST_CASE("replay: what a fused kernel rounds between queries and context is allowed for, and no more",
          "[evidence][replay]") {
  const Pass pass(at::kFloat);
  const auto& s = pass.specification;
  const auto wide = [&](const char* kind) { return pass.stages.at({kind, 0}).to(at::kDouble); };
  const auto by_head = [&](const at::Tensor& x) {
    return x.repeat_interleave(s.num_attention_heads / x.size(2), 2).transpose(1, 2);
  };
  const auto queries = by_head(wide("q_rotated")), keys = by_head(wide("k_rotated")).transpose(2, 3);
  const double size = static_cast<double>(s.head_size());
  const auto scores = at::matmul(queries, keys) / std::sqrt(size);
  const auto magnitude = at::matmul(queries.abs(), keys.abs()) / std::sqrt(size);
  const auto context = [&](const at::Tensor& of) {
    return at::matmul(at::softmax(of.masked_fill(~pass.allowed, -INFINITY), -1), by_head(wide("v")))
        .transpose(1, 2)
        .flatten(2);
  };
  // The kernel's scores err as far as a sum of products in float32 is allowed to.
  const auto signs = at::arange(scores.numel(), at::kDouble).mul(1.7).sin().sign().view(scores.sizes());
  auto shown = pass.stages;
  shown[{"context", 0}] = context(scores + 6 * signs * size * 0x1p-24 * magnitude).to(at::kFloat);
  CHECK_FALSE(pass.judge({"context", 0}, shown).within);  // the probabilities were seen: these are others

  shown[{"scores", 0}] = scores.masked_fill(~pass.allowed, -INFINITY);
  shown[{"probabilities", 0}] = at::softmax(shown[{"scores", 0}], -1);
  const auto check = pass.judge({"context", 0}, shown);
  INFO(reports::sentence_of(check));
  CHECK(check.within);
  CHECK(check.tolerance_reason ==
        "6 x the float32 of a softmax over 19 keys within one kernel, and a sum of 19 products");

  shown[{"context", 0}] = context(scores.to(at::kBFloat16).to(at::kDouble)).to(at::kFloat);
  CHECK_FALSE(pass.judge({"context", 0}, shown).within);
  shown[{"context", 0}] = context(scores.to(at::kHalf).to(at::kDouble)).to(at::kFloat);
  CHECK_FALSE(pass.judge({"context", 0}, shown).within);

  shown[{"context", 0}] = context(scores).to(at::kFloat);
  shown.erase({"q_rotated", 0});  // nobody knows then what the kernel may have rounded
  const at::NoGradGuard no_gradients;
  CHECK_FALSE(
      replay({"context", 0}, shown, pass.weights, s, pass.ids, pass.positions, pass.allowed, pass.type));
}
