#include "harness/judging/subject.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "harness/candidate/void_parameters.hpp"
#include "harness/evidence/closed_form.hpp"

namespace plumbline {
namespace {

Subject* current_subject = nullptr;

// Stage "layers.3.scores" -> "scores".
}  // namespace

std::string kind_of(const std::string& stage) {
  return stage.substr(stage.rfind('.') + 1);
}

Stages stages_of(const Model& model, const Tokens& tokens) {
  Stages stages;
  PassOptions options;
  options.observe = [&](const std::string& stage, const at::Tensor& value) {
    stages[stage] = value.to(at::kCPU, at::kDouble);
  };
  model.forward(tokens, options);
  return stages;
}

Subject& subject() {
  return *current_subject;
}
void set_subject(Subject* subject) {
  current_subject = subject;
}

Subject::Subject(Candidate& candidate, Specification specification, std::optional<Golden> golden,
                 std::filesystem::path fixtures, Recorder& recorder)
    : candidate_(candidate),
      specification_(std::move(specification)),
      golden_(std::move(golden)),
      fixtures_(std::move(fixtures)),
      recorder_(recorder),
      capabilities_(candidate.capabilities()),
      lacking_(lacking_parameters(specification_, candidate_.describe().parameters)) {}

const Weights& Subject::weights() {
  if (weights_) return *weights_;
  if (can("load")) {
    weights_ = with_void(discriminating_weights(specification_.parameters(), golden_ ? golden_->seed() : 1),
                         lacking_);
    return *weights_;
  }
  auto own = convert(candidate_.weights(), at::kFloat, at::kCPU);
  for (const auto& parameter : specification_.parameters())
    if (lacking_.contains(parameter.name)) own[parameter.name] = at::zeros(parameter.shape);
  own = with_void(std::move(own), lacking_);
  if (const auto name = not_void(own, lacking_)) throw NotShown(fmt::format("it has no parameter {}", *name));
  weights_ = std::move(own);
  return *weights_;
}

Candidate& Subject::running() {
  if (!loaded_ && can("load")) candidate_.load(weights());
  loaded_ = true;
  return candidate_;
}

void Subject::with_weights(const Weights& weights, const std::function<void(Candidate&)>& body) {
  candidate_.load(weights);
  loaded_ = true;  // running() is to leave them alone
  try {
    body(candidate_);
  } catch (...) {
    loaded_ = false;
    throw;
  }
  loaded_ = false;
}

void Subject::measure_rounding_on(Weights weights) {
  elsewhere_ = std::move(weights);
  rounded_.reset();
  exact_.reset();
  relative_noise_.clear();
}

const Model& Subject::rounded() {
  if (!rounded_)
    rounded_ = std::make_unique<Model>(
        specification_, convert(elsewhere_ ? *elsewhere_ : weights(), running().type(), running().device()));
  return *rounded_;
}

const Model& Subject::exact() {
  if (!exact_)
    exact_ = std::make_unique<Model>(specification_,
                                     convert(rounded().weights(), at::kDouble, running().device()));
  return *exact_;
}

Tolerance Subject::noise(const std::string& stage, const at::Tensor& expected) {
  if (relative_noise_.empty()) {
    const at::NoGradGuard no_gradients;
    const auto right = stages_of(exact(), standard_probe()), near = stages_of(rounded(), standard_probe());
    for (const auto& [name, value] : right) {
      const auto hidden = ~value.isfinite();
      const auto error = (near.at(name) - value).masked_fill(hidden, 0);
      const auto size = value.masked_fill(hidden, 0);
      auto& noise = relative_noise_[kind_of(name)];
      noise.worst = std::max(noise.worst, largest(error) / largest(size));
      noise.whole = std::max(noise.whole, root_mean_square(error) / root_mean_square(size));
    }
  }
  const auto size = finite(expected);
  const auto& relative = relative_noise_.at(kind_of(stage));
  // Rotary angles in float32 err in proportion to the position (Tokens are few; the pass itself says how
  // many).
  const double angles = static_cast<double>(expected.dim() > 1 ? expected.size(1) : 1) * 0x1p-24;
  auto tolerance = Tolerance::absolute(
      (kNoiseFactor * relative.worst + angles) * largest(size),
      fmt::format("{} x the {} rounding error measured on the reference, {} of the largest", kNoiseFactor,
                  type_name(candidate_.type()), number(relative.worst)));
  tolerance.whole = (kWholeFactor * relative.whole + angles) * root_mean_square(size);
  return tolerance;
}

Tokens probe(const std::string& name, std::int64_t batch, std::int64_t length) {
  return {probe_tokens(name, batch, length, subject().specification().vocab_size, 1), {}, Padding::none};
}

Tokens standard_probe() {
  return probe("standard", 1, 24);
}

Tokens rows(const Tokens& tokens, std::int64_t row) {
  return {tokens.ids.narrow(0, row, 1), {}, Padding::none};
}

at::Tensor logits(const Tokens& tokens, PassOptions options) {
  const at::NoGradGuard no_gradients;
  return subject().running().forward(tokens, options).to(at::kCPU);
}

Stages observe(const Tokens& tokens, PassOptions options) {
  const at::NoGradGuard no_gradients;
  Stages stages;
  options.observe = [&](const std::string& stage, const at::Tensor& value) {
    stages[stage] = value.to(at::kCPU).clone();
  };
  subject().running().forward(tokens, options);
  return stages;
}

PassOptions in_training() {
  PassOptions options;
  options.training = true;
  return options;
}

std::vector<std::int64_t> one_by_one(std::int64_t prefill, std::int64_t length) {
  std::vector<std::int64_t> chunks{prefill};
  chunks.insert(chunks.end(), static_cast<std::size_t>(length - prefill), 1);
  return chunks;
}

namespace {

// Calls `each` with every chunk of the tokens and the decoding that is to take it.
void in_chunks(const Tokens& tokens, const std::vector<std::int64_t>& chunks,
               const std::function<void(Decoding&, const Tokens&)>& each) {
  const at::NoGradGuard no_gradients;
  const auto length = tokens.ids.size(1);
  const auto decoding = subject().running().decode(tokens.ids.size(0), length + 3);
  std::int64_t begin = 0;
  for (const auto chunk : chunks) {
    each(*decoding, {tokens.ids.narrow(1, begin, chunk), {}, Padding::none});
    begin += chunk;
  }
  if (begin != length) throw std::logic_error("the chunks do not add up to the tokens");
}

}  // namespace

at::Tensor cached_logits(const Tokens& tokens, const std::vector<std::int64_t>& chunks) {
  std::vector<at::Tensor> all;
  in_chunks(tokens, chunks, [&](Decoding& decoding, const Tokens& chunk) {
    all.push_back(decoding.extend(chunk, {}).to(at::kCPU));
  });
  return at::cat(all, 1);
}

Stages observe_cached(const Tokens& tokens, const std::vector<std::int64_t>& chunks) {
  const auto length = tokens.ids.size(1);
  std::map<std::string, std::vector<at::Tensor>> pieces;
  in_chunks(tokens, chunks, [&](Decoding& decoding, const Tokens& chunk) {
    PassOptions options;
    options.observe = [&](const std::string& stage, const at::Tensor& value) {
      auto piece = value.to(at::kCPU).clone();
      const auto kind = kind_of(stage);
      // (B, H, T, S): the keys that came later are hidden from these queries. A static cache may show all its
      // slots; if one beyond the tokens had weight, the context would not be what the shown probabilities
      // make of them.
      if (kind == "scores" || kind == "probabilities")
        piece = at::constant_pad_nd(piece, {0, length - piece.size(-1)},
                                    kind == "scores" ? -std::numeric_limits<double>::infinity() : 0.0);
      pieces[stage].push_back(piece);
    };
    decoding.extend(chunk, options);
  });
  Stages stages;
  for (const auto& [stage, parts] : pieces) {
    const auto kind = kind_of(stage);
    stages[stage] = at::cat(parts, kind == "scores" || kind == "probabilities" ? 2 : 1);
  }
  return stages;
}

at::Tensor padded_logits(const Tokens& sequence, std::int64_t width, Padding side, PassOptions options) {
  const auto length = sequence.ids.size(1);
  const auto others = probe("others", 2, width).ids;
  // The first row is padded, too, and otherwise: who takes its padding for everybody's shows it.
  const auto first = std::max<std::int64_t>(1, width - 3);
  others[0].narrow(0, side == Padding::right ? first : 0, width - first).zero_();
  const auto fill = at::zeros({1, width - length}, at::kLong);
  const auto middle =
      side == Padding::right ? at::cat({sequence.ids, fill}, 1) : at::cat({fill, sequence.ids}, 1);
  const Tokens batch{
      at::cat({others.narrow(0, 0, 1), middle, others.narrow(0, 1, 1)}, 0), {first, length, width}, side};
  return logits(batch, options)
      .narrow(0, 1, 1)
      .narrow(1, side == Padding::right ? 0 : width - length, length);
}

at::Tensor allowed_in(const Tokens& tokens) {
  return closed_form::causal(tokens.ids.size(0), tokens.ids.size(1)).unsqueeze(1);
}

at::Tensor shown(const Stages& stages, const std::string& name) {
  const auto found = stages.find(name);
  if (found == stages.end()) not_assessed(fmt::format("the candidate does not show {}", name));
  return found->second.to(at::kDouble);
}

void expect(reports::Check check) {
  const bool holds = check.within && check.elements > 0;
  const auto sentence = check.sentence;
  subject().recorder().add(std::move(check));
  if (holds)
    SUCCEED();
  else
    FAIL_CHECK(sentence);
}

void expect_close(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                  const Tolerance& tolerance) {
  expect(compare(what, actual, expected, tolerance));
}

void expect_equal(const std::string& what, const std::string& actual, const std::string& expected) {
  expect(compare_text(what, actual, expected));
}

void expect_equal(const std::string& what, std::int64_t actual, std::int64_t expected) {
  expect_equal(what, std::to_string(actual), std::to_string(expected));
}

void expect_differs(const std::string& what, const at::Tensor& one, const at::Tensor& other, double least,
                    const std::string& why) {
  reports::Check check;
  check.what = what;
  check.elements = one.numel();
  const double difference = largest(one.to(at::kDouble) - other.to(at::kDouble));
  check.within = difference >= least;
  check.actual = number(difference);
  check.expected = "at least " + number(least);
  check.tolerance_reason = why;
  check.sentence = reports::changed_by(check);
  expect(std::move(check));
}

void expect_that(bool holds, const std::string& what, const std::string& actual,
                 const std::string& expected) {
  auto check = compare_text(what, actual, expected);
  check.within = holds;
  expect(std::move(check));
}

void expect_told_apart(const std::string& what, const at::Tensor& actual, const at::Tensor& right,
                       const std::vector<std::pair<std::string, at::Tensor>>& wrong,
                       const Tolerance& tolerance) {
  for (const auto& [name, other] : wrong) {
    const auto apart =
        ((finite(right) - finite(other)).abs() / tolerance.bound.clamp_min(1e-300)).max().item<double>();
    if (!(apart >= 10)) {
      subject().recorder().error(
          fmt::format("{}: this probe cannot tell {} from what is right ({} tolerances apart)", what, name,
                      number(apart)));
      FAIL("the probe cannot tell");
    }
  }
  expect_close(what, actual, right, tolerance);
}

namespace {

// The weights as the candidate holds them, in float64 on the CPU.
const Weights& exact_weights() {
  static const Weights* of = nullptr;
  static Weights weights;
  if (of != &subject().exact().weights()) {
    of = &subject().exact().weights();
    weights = convert(*of, at::kDouble, at::kCPU);
  }
  return weights;
}

}  // namespace

std::optional<Replayed> try_replay(const std::string& stage, const Stages& shown, const Tokens& tokens,
                                   std::int64_t first_position) {
  const at::NoGradGuard no_gradients;
  const auto positions =
      (at::arange(tokens.ids.size(1), at::kLong) + first_position).unsqueeze(0).expand_as(tokens.ids);
  return replay(stage, shown, exact_weights(), subject().specification(), tokens.ids, positions,
                allowed_in(tokens), subject().running().type());
}

Replayed replayed(const std::string& stage, const Stages& shown, const Tokens& tokens,
                  std::int64_t first_position) {
  auto right = try_replay(stage, shown, tokens, first_position);
  if (!right) not_assessed(fmt::format("the candidate does not show what goes into {}", stage));
  return *std::move(right);
}

void expect_replayed(const std::vector<std::string>& kinds, const Stages& shown, const Tokens& tokens,
                     const std::string& mode, std::int64_t first_position) {
  bool any = false;
  for (const auto& stage : stage_names(subject().specification().num_hidden_layers)) {
    if (std::find(kinds.begin(), kinds.end(), kind_of(stage)) == kinds.end()) continue;
    const auto actual = shown.find(stage);
    const auto right =
        actual == shown.end() ? std::nullopt : try_replay(stage, shown, tokens, first_position);
    if (!right) {
      subject().recorder().not_assessed(
          fmt::format("the candidate does not show {} or what goes into it", stage));
      continue;
    }
    any = true;
    const auto value =
        kind_of(stage) == "scores" ? hidden_as_infinity(actual->second, allowed_in(tokens)) : actual->second;
    expect_close(fmt::format("{} ({})", stage, mode), value, right->expected, right->tolerance);
  }
  if (!any) not_assessed("the candidate shows none of these stages");
}

void not_assessed(const std::string& reason) {
  throw NotShown(reason);
}

}  // namespace plumbline
