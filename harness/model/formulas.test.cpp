#include "harness/model/formulas.hpp"

#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "harness/model/weights.hpp"

using namespace plumbline;

namespace {

using at::Tensor;

Tensor doubles(const std::vector<double>& values) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble);
}

// Bell-shaped, deviation about 1, the same on every machine.
Tensor values(const std::string& name, const std::vector<std::int64_t>& shape) {
  const auto raw = discriminating_weights({{"model.layers.0." + name + ".bias", shape}}, 1).begin()->second;
  return raw.to(at::kDouble) / 0.3;
}

double apart(const Tensor& one, const Tensor& other) {
  REQUIRE(one.sizes() == other.sizes());
  return (one.to(at::kDouble) - other.to(at::kDouble)).abs().max().item<double>();
}

Tensor positions(std::int64_t batch, std::int64_t from, std::int64_t to) {
  return at::arange(from, to, at::kLong).unsqueeze(0).expand({batch, to - from});
}

Specification heads_of(std::int64_t head_size, double theta) {
  Specification s;
  s.hidden_size = 2 * head_size;
  s.num_attention_heads = 2;
  s.rope_theta = theta;
  return s;
}

constexpr auto f32 = NormPrecision::float32;

// One row of a batch: its real tokens as 'x', its padding as '.'.
Tensor real(const std::string& row) {
  auto tensor = at::zeros({1, static_cast<std::int64_t>(row.size())}, at::kBool);
  for (std::size_t i = 0; i < row.size(); ++i) tensor[0][static_cast<std::int64_t>(i)] = row[i] == 'x';
  return tensor;
}

// Which keys each query may see, a line a query. `keys` are the slots' tokens, the last of them the queries'
// own.
std::string seen(const std::string& keys, std::int64_t before = 0) {
  const auto slots = static_cast<std::int64_t>(keys.size());
  const MaskInputs inputs{at::arange(before, slots, at::kLong),
                          at::arange(slots, at::kLong),
                          real(keys.substr(static_cast<std::size_t>(before))),
                          real(keys),
                          false,
                          before > 0};
  const auto mask = causal_mask(inputs);
  REQUIRE(mask.sizes() == at::IntArrayRef({1, 1, slots - before, slots}));
  CHECK(mask.any(-1).all().item<bool>());
  std::string picture;
  for (std::int64_t query = 0; query < slots - before; ++query) {
    for (std::int64_t key = 0; key < slots; ++key) picture += mask[0][0][query][key].item<bool>() ? 'x' : '.';
    picture += '\n';
  }
  return picture;
}

}  // namespace

TEST_CASE("formulas: norms, softmax and rotation accumulate in float32 at least", "[model][formulas]") {
  CHECK(accumulation_type(at::kFloat) == at::kFloat);
  CHECK(accumulation_type(at::kBFloat16) == at::kFloat);
  CHECK(accumulation_type(at::kHalf) == at::kFloat);
  CHECK(accumulation_type(at::kDouble) == at::kDouble);
}

TEST_CASE("formulas: RMSNorm divides by the root of the mean square plus eps, and subtracts no mean",
          "[model][formulas]") {
  // The mean square of 3 and 4 is 12.5.
  const auto root = std::sqrt(12.5 + 0.5);
  CHECK(apart(rms_norm(doubles({3, 4}), doubles({1, 2}), 0.5, f32), doubles({3 / root, 8 / root})) < 1e-15);
  CHECK(apart(rms_norm(doubles({2, 2}), doubles({1, 1}), 1e-12, f32), doubles({1, 1})) < 1e-9);
  CHECK(apart(rms_norm(at::zeros({3, 2}, at::kDouble), doubles({1, 1}), 1e-5, f32), at::zeros({3, 2})) == 0);
}

TEST_CASE("formulas: RMSNorm of bfloat16 is computed in float32 and cast back before its weight",
          "[model][formulas]") {
  const auto x = values("x", {64, 48}).to(at::kBFloat16);
  const auto weight = (values("weight", {48}) * 0.2 + 1).to(at::kBFloat16);
  const auto wide = x.to(at::kFloat);
  const auto normed = wide * at::rsqrt(wide.square().mean(-1, true) + 1e-5);
  const auto actual = rms_norm(x, weight, 1e-5, f32);
  CHECK(actual.scalar_type() == at::kBFloat16);
  CHECK(actual.equal(normed.to(at::kBFloat16) * weight));
  CHECK_FALSE(actual.equal((normed * weight.to(at::kFloat)).to(at::kBFloat16)));
  CHECK_FALSE(actual.equal(rms_norm(x, weight, 1e-5, NormPrecision::model)));
  CHECK(apart(rms_norm(x, weight, 1e-5, NormPrecision::model), actual) < 0.1);
  // In float32 and beyond the two are one.
  CHECK(rms_norm(wide, weight, 1e-5, f32).equal(rms_norm(wide, weight, 1e-5, NormPrecision::model)));
}

TEST_CASE("formulas: rotary frequencies are theta^(-2i/Dh), in float32 whatever the model's type",
          "[model][formulas]") {
  const auto exact = rotary_frequencies(heads_of(8, 1e4), at::kDouble, at::kCPU);
  CHECK(apart(exact, doubles({1, 0.1, 0.01, 0.001})) < 1e-16);
  CHECK(exact.scalar_type() == at::kDouble);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto frequencies = rotary_frequencies(heads_of(8, 1e4), type, at::kCPU);
    CHECK(frequencies.scalar_type() == at::kFloat);
    CHECK(apart(frequencies, exact) < 1e-7);
  }
  CHECK(apart(rotary_frequencies(heads_of(4, 1e6), at::kDouble, at::kCPU), doubles({1, 1e-3})) < 1e-16);
}

TEST_CASE("formulas: angles are position times frequency, with an axis for the heads", "[model][formulas]") {
  const auto angles = rotary_angles(at::tensor({0, 3, 32767, 1}, at::kLong).view({2, 2}), doubles({1, 0.25}));
  CHECK(angles.sizes() == at::IntArrayRef({2, 2, 1, 2}));
  CHECK(apart(angles.flatten(), doubles({0, 0, 3, 0.75, 32767, 8191.75, 1, 0.25})) == 0);
}

TEST_CASE("formulas: a rotation turns first with second half, or neighbours, by the angle",
          "[model][formulas]") {
  const auto x = doubles({1, 2, 3, 4}).view({1, 1, 1, 4});
  const auto quarter = doubles({std::numbers::pi / 2, 0}).view({1, 1, 1, 2});
  CHECK(apart(rotate(x, quarter, Rotary::halves).flatten(), doubles({-3, 2, 1, 4})) < 1e-15);
  CHECK(apart(rotate(x, quarter, Rotary::pairs).flatten(), doubles({-2, 1, 3, 4})) < 1e-15);
  CHECK(rotate(x, at::zeros({1, 1, 1, 2}, at::kDouble), Rotary::halves).equal(x));
}

TEST_CASE("formulas: rotation by halves, by pairs and by complex numbers agree after permuting columns",
          "[model][formulas]") {
  const auto x = values("x", {2, 7, 3, 8});  // (B, T, heads, Dh)
  const auto angles =
      rotary_angles(positions(2, 100, 107), rotary_frequencies(heads_of(8, 1e4), at::kDouble, at::kCPU));
  const auto pairs = rotate(x, angles, Rotary::pairs);
  const auto order = at::tensor({0, 2, 4, 6, 1, 3, 5, 7}, at::kLong);  // pairs -> halves
  CHECK(apart(rotate(x.index_select(-1, order), angles, Rotary::halves), pairs.index_select(-1, order)) == 0);
  CHECK(apart(rotate(x, angles, Rotary::halves), pairs) > 0.1);
  const auto complex = at::view_as_complex(x.unflatten(-1, {4, 2}).contiguous());
  const auto turned = complex * at::polar(at::ones_like(angles), angles);
  CHECK(apart(at::view_as_real(turned).flatten(-2), pairs) < 1e-14);
}

TEST_CASE("formulas: a rotation keeps norms, and query times key depends on the distance alone",
          "[model][formulas]") {
  const auto frequencies = rotary_frequencies(heads_of(8, 1e4), at::kDouble, at::kCPU);
  const auto q = values("q", {1, 1, 1, 8}), k = values("k", {1, 1, 1, 8});
  const auto product = [&](std::int64_t at_query, std::int64_t at_key) {
    const auto turned_q =
        rotate(q, rotary_angles(positions(1, at_query, at_query + 1), frequencies), Rotary::halves);
    const auto turned_k =
        rotate(k, rotary_angles(positions(1, at_key, at_key + 1), frequencies), Rotary::halves);
    CHECK(apart(turned_q.norm(), q.norm()) < 1e-13);
    return (turned_q * turned_k).sum().item<double>();
  };
  CHECK(std::abs(product(9, 4) - product(32767, 32762)) < 1e-9);
  CHECK(std::abs(product(9, 4) - product(4, 9)) > 0.1);
}

TEST_CASE("formulas: a rotation of bfloat16 is computed in the angles' type", "[model][formulas]") {
  const auto x = values("x", {1, 5, 2, 8}).to(at::kBFloat16);
  const auto angles =
      rotary_angles(positions(1, 0, 5), rotary_frequencies(heads_of(8, 1e4), at::kBFloat16, at::kCPU));
  const auto actual = rotate(x, angles, Rotary::halves);
  CHECK(actual.scalar_type() == at::kBFloat16);
  CHECK(actual.equal(rotate(x.to(at::kFloat), angles, Rotary::halves).to(at::kBFloat16)));
}

TEST_CASE("formulas: angles broadcast over the wrong axis raise, unless the length is the number of heads",
          "[model][formulas]") {
  const auto frequencies = rotary_frequencies(heads_of(8, 1e4), at::kDouble, at::kCPU);
  const auto angles = [&](std::int64_t length) {
    return rotary_angles(positions(1, 0, length), frequencies);
  };
  const auto q = [](std::int64_t length) { return values("q", {1, length, 6, 8}); };
  // (B, T, 1, Dh/2) laid out for (B, heads, T, Dh), as (B, 1, T, Dh/2).
  CHECK_THROWS_AS(rotate(q(5), angles(5).transpose(1, 2), Rotary::halves), c10::Error);
  const auto silent = rotate(q(6), angles(6).transpose(1, 2), Rotary::halves);
  CHECK(apart(silent, rotate(q(6), angles(6), Rotary::halves)) > 0.1);
  CHECK_THROWS_AS(rotate(values("k", {1, 6, 2, 8}), angles(6).transpose(1, 2), Rotary::halves), c10::Error);
  // In the right layout the two are one.
  const auto other_layout =
      rotate(q(5).transpose(1, 2), angles(5).transpose(1, 2), Rotary::halves).transpose(1, 2);
  CHECK(other_layout.equal(rotate(q(5), angles(5), Rotary::halves)));
}

TEST_CASE("formulas: repeating gives query head h the key/value head h div factor", "[model][formulas]") {
  const auto x = values("x", {2, 5, 3, 4});
  const auto repeated = repeat_kv(x, 4);
  REQUIRE(repeated.sizes() == at::IntArrayRef({2, 5, 12, 4}));
  for (std::int64_t head = 0; head < 12; ++head) CHECK(repeated.select(2, head).equal(x.select(2, head / 4)));
  CHECK(repeated.equal(x.repeat_interleave(4, 2)));
  CHECK_FALSE(repeated.equal(x.repeat({1, 1, 4, 1})));
  CHECK(repeat_kv(x, 1).is_same(x));
}

TEST_CASE("formulas: the gradients of a head's copies add up", "[model][formulas]") {
  const auto x = values("x", {2, 5, 3, 4}).requires_grad_(true);
  const auto gradient = values("gradient", {2, 5, 6, 4});
  (repeat_kv(x, 2) * gradient).sum().backward();
  CHECK(apart(x.grad(), gradient.view({2, 5, 3, 2, 4}).sum(3)) < 1e-15);
}

TEST_CASE("formulas: a query sees the keys up to itself", "[model][formulas]") {
  CHECK(seen("xxxx") == "x...\nxx..\nxxx.\nxxxx\n");
  CHECK(seen("x") == "x\n");
}

TEST_CASE("formulas: padding is seen by nothing but itself, at the end or at the start",
          "[model][formulas]") {
  CHECK(seen("xxx..") == "x....\nxx...\nxxx..\n...x.\n....x\n");
  CHECK(seen("..xxx") == "x....\n.x...\n..x..\n..xx.\n..xxx\n");
  CHECK(seen("..") == "x.\n.x\n");
}

TEST_CASE("formulas: queries through the cache see the earlier slots that hold real tokens",
          "[model][formulas]") {
  CHECK(seen("xxxxx", 3) == "xxxx.\nxxxxx\n");
  CHECK(seen(".xxx", 3) == ".xxx\n");
  CHECK(seen("xx..xx", 4) == "xx..x.\nxx..xx\n");
}

TEST_CASE("formulas: softmax is taken over keys in float32, and a hidden key gets exactly nothing",
          "[model][formulas]") {
  const double hidden = -std::numeric_limits<double>::infinity();
  CHECK(apart(softmax(doubles({0, std::log(3.0), hidden})), doubles({0.25, 0.75, 0})) < 1e-16);
  CHECK(softmax(doubles({0, hidden}))[1].item<double>() == 0);
  CHECK(apart(softmax(doubles({1e4, 1e4})), doubles({0.5, 0.5})) == 0);
  CHECK(apart(softmax(doubles({0, 0, 0, 0}).view({2, 2})), doubles({0.5, 0.5, 0.5, 0.5}).view({2, 2})) == 0);
  const auto narrow = values("x", {4, 33}).to(at::kBFloat16);
  CHECK(softmax(narrow).scalar_type() == at::kBFloat16);
  CHECK(softmax(narrow).equal(at::softmax(narrow.to(at::kFloat), -1).to(at::kBFloat16)));
}

TEST_CASE("formulas: the activations have the published values", "[model][formulas]") {
  const auto x = doubles({-2, 0, 1});
  CHECK(apart(activate(x, Activation::silu), doubles({-0.23840584404423515, 0, 0.7310585786300049})) < 1e-15);
  CHECK(apart(activate(x, Activation::gelu), doubles({-0.04550026389635842, 0, 0.8413447460685429})) < 1e-15);
  CHECK(apart(activate(x, Activation::gelu_tanh), doubles({-0.04540230591222494, 0, 0.8411919906082768})) <
        1e-15);
  CHECK(apart(gated_unit(doubles({1}), doubles({-3}), Activation::silu), doubles({-2.1931757358900147})) <
        1e-15);
}

TEST_CASE("formulas: a linear layer multiplies by the transposed weight and adds its bias if it has one",
          "[model][formulas]") {
  const auto x = doubles({1, 10}), weight = doubles({1, 2, 3, 4, 5, 6}).view({3, 2});
  CHECK(plumbline::linear(x, weight, {}).equal(doubles({21, 43, 65})));
  CHECK(plumbline::linear(x, weight, doubles({1, 1, 2})).equal(doubles({22, 44, 67})));
}

TEST_CASE("formulas: dropout of 0 is its input, and otherwise keeps the mean", "[model][formulas]") {
  const auto x = at::ones({200, 200}, at::kDouble);
  CHECK(dropout(x, 0).is_same(x));
  at::manual_seed(1);
  const auto dropped = dropout(x, 0.25);
  CHECK((dropped.eq(0) | dropped.sub(4.0 / 3).abs().lt(1e-15)).all().item<bool>());
  CHECK(std::abs(dropped.eq(0).to(at::kDouble).mean().item<double>() - 0.25) < 0.02);
}

TEST_CASE("formulas: where nothing departs, every entry of the table does what its name says",
          "[model][formulas]") {
  const Formulas formulas;
  const auto x = values("x", {1, 3, 2, 8}), y = values("y", {1, 3, 2, 8});
  const auto angles =
      rotary_angles(positions(1, 4, 7), formulas.frequencies(heads_of(8, 1e4), at::kDouble, at::kCPU));
  CHECK(formulas.rotate_query(x, angles, Rotary::halves).equal(rotate(x, angles, Rotary::halves)));
  CHECK(formulas.rotate_key(x, angles, Rotary::pairs).equal(rotate(x, angles, Rotary::pairs)));
  CHECK(formulas.transform_value(x, angles).is_same(x));
  CHECK(formulas.repeat_kv(x, 2).equal(repeat_kv(x, 2)));
  CHECK(std::abs(formulas.attention_scale(heads_of(64, 1e6)) - 0.125) < 1e-16);
  CHECK(formulas.norm(x, doubles({1, 2, 3, 4, 5, 6, 7, 8}), 1e-5, f32)
            .equal(rms_norm(x, doubles({1, 2, 3, 4, 5, 6, 7, 8}), 1e-5, f32)));
  CHECK(formulas.softmax(x).equal(softmax(x)));
  CHECK(formulas.gated_unit(x, y, Activation::gelu).equal(gated_unit(x, y, Activation::gelu)));
  CHECK(formulas.add_residual(x, 1000 * x, y).equal(x + y));
  CHECK(formulas.transform_embedding(x, at::arange(8)).is_same(x));
  CHECK(formulas.initial_values("lm_head.weight", x).is_same(x));
  CHECK(formulas.transform_logits(x).is_same(x));
  CHECK(formulas.dropout_rate(0.3, true) == 0.3);
  CHECK(formulas.dropout_rate(0.3, false) == 0);
  CHECK(formulas.cache_entry(x, y, 4).is_same(x));
  CHECK(formulas.write_slot(7) == 7);
  CHECK(formulas.readable_slots(7, 9) == 7);
  CHECK(formulas.next_position(x, 7, 2).is_same(x));
  CHECK(formulas.fits(9, 9));
  CHECK_FALSE(formulas.fits(10, 9));
  CHECK(formulas.step_gradient(x, y).is_same(x));
  CHECK(formulas.stops({true, true}));
  CHECK_FALSE(formulas.stops({true, false}));
  CHECK(formulas.tokens_to_write(12, 7) == 12);
}
