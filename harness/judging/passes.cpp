#include "harness/judging/passes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "harness/evidence/closed_form.hpp"

namespace plumbline {

Tokens probe(Subject& subject, const std::string& name, std::int64_t batch, std::int64_t length) {
  return {probe_tokens(name, batch, length, subject.specification().vocab_size, subject.probes().seed),
          {},
          Padding::none};
}

Tokens standard_probe(Subject& subject) {
  return probe(subject, "standard", 1, 24);
}

Tokens with_mask_of_ones(const Tokens& tokens, Padding side) {
  const auto all =
      std::vector<std::int64_t>(static_cast<std::size_t>(tokens.ids.size(0)), tokens.ids.size(1));
  return {tokens.ids, all, side};
}

Tokens row_of_batch(const Tokens& tokens, std::int64_t row) {
  return {tokens.ids.narrow(0, row, 1), {}, Padding::none};
}

at::Tensor logits(Subject& subject, const Tokens& tokens, PassOptions options) {
  const at::NoGradGuard no_gradients;
  subject.recorder().note_pass(tokens.ids.size(1));
  return subject.running().forward(tokens, options).to(at::kCPU);
}

Stages observe(Subject& subject, const Tokens& tokens, PassOptions options) {
  const at::NoGradGuard no_gradients;
  Stages stages;
  options.observer = [&](const Stage& stage, const at::Tensor& value) {
    stages[stage] = value.to(at::kCPU).clone();
  };
  options.replacement = subject.replacement();
  subject.recorder().note_pass(tokens.ids.size(1));
  subject.running().forward(tokens, options);
  return stages;
}

std::int64_t fitting_length(Subject& subject, std::int64_t length) {
  return std::min(length, subject.specification().max_position_embeddings);
}

std::vector<std::int64_t> far_positions(const Specification& specification) {
  const auto last = specification.max_position_embeddings - 24;
  if (last <= 0) return {};
  return last > 300 ? std::vector<std::int64_t>{300, last} : std::vector<std::int64_t>{last};
}

PassOptions training_options() {
  PassOptions options;
  options.training = true;
  return options;
}

std::vector<std::int64_t> prefill_then_single_tokens(std::int64_t prefill, std::int64_t length) {
  std::vector<std::int64_t> chunks{prefill};
  chunks.insert(chunks.end(), static_cast<std::size_t>(length - prefill), 1);
  return chunks;
}

namespace {

// Calls `decode` with a new decoding and each chunk of the tokens in turn.
void for_each_chunk(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks,
                    const std::function<void(Decoding&, const Tokens&)>& decode) {
  const at::NoGradGuard no_gradients;
  const auto length = tokens.ids.size(1);
  const auto decoding =
      subject.running().decode(tokens.ids.size(0), std::max(length, fitting_length(subject, length + 3)));
  std::int64_t begin = 0;
  for (const auto chunk : chunks) {
    decode(*decoding, {tokens.ids.narrow(1, begin, chunk), {}, Padding::none});
    begin += chunk;
  }
  if (begin != length) throw std::logic_error("the chunks do not add up to the tokens");
  subject.recorder().note_pass(length);
}

}  // namespace

at::Tensor cached_logits(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks) {
  std::vector<at::Tensor> all;
  for_each_chunk(subject, tokens, chunks, [&](Decoding& decoding, const Tokens& chunk) {
    all.push_back(decoding.extend(chunk, {}).to(at::kCPU));
  });
  return at::cat(all, 1);
}

Stages observe_cached(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks) {
  const auto length = tokens.ids.size(1);
  std::map<Stage, std::vector<at::Tensor>> pieces;
  for_each_chunk(subject, tokens, chunks, [&](Decoding& decoding, const Tokens& chunk) {
    PassOptions options;
    options.observer = [&](const Stage& stage, const at::Tensor& value) {
      auto piece = value.to(at::kCPU).clone();
      // (B, H, T, S): later keys are hidden from these queries. A static cache may show all its slots, which
      // is harmless: if a slot beyond the tokens had weight, the replay of the context would fail.
      if (has_keys(stage.kind))
        piece = at::constant_pad_nd(piece, {0, length - piece.size(-1)},
                                    stage.kind == "scores" ? -std::numeric_limits<double>::infinity() : 0.0);
      pieces[stage].push_back(piece);
    };
    options.replacement = subject.replacement();
    decoding.extend(chunk, options);
  });
  Stages stages;
  for (const auto& [stage, parts] : pieces) stages[stage] = at::cat(parts, has_keys(stage.kind) ? 2 : 1);
  return stages;
}

at::Tensor padded_logits(Subject& subject, const Tokens& sequence, std::int64_t width, Padding side,
                         PassOptions options) {
  const auto length = sequence.ids.size(1);
  const auto others = probe(subject, "others", 2, width).ids;
  // The first row is padded by another length, so that code that applies one row's padding to all fails.
  const auto first = std::max<std::int64_t>(1, width - 3);
  others[0].narrow(0, side == Padding::right ? first : 0, width - first).zero_();
  const auto fill = at::zeros({1, width - length}, at::kLong);
  const auto middle =
      side == Padding::right ? at::cat({sequence.ids, fill}, 1) : at::cat({fill, sequence.ids}, 1);
  const Tokens batch{
      at::cat({others.narrow(0, 0, 1), middle, others.narrow(0, 1, 1)}, 0), {first, length, width}, side};
  return logits(subject, batch, options)
      .narrow(0, 1, 1)
      .narrow(1, side == Padding::right ? 0 : width - length, length);
}

Tolerance noise_of_pass(Subject& subject, const Tokens& tokens, const PassOptions& options,
                        const at::Tensor& logits) {
  auto tolerance = subject.noise("logits", logits);
  if (options.first_position == 0 && tokens.ids.size(1) <= 24) return tolerance;
  const at::NoGradGuard no_gradients;
  const auto exact = subject.exact().forward(tokens, options).to(at::kCPU, at::kDouble);
  const auto error =
      largest(subject.rounded().forward(tokens, options).to(at::kCPU, at::kDouble) - exact) / largest(exact);
  // The error of float32 angles is proportional to the position.
  const double angles = static_cast<double>(options.first_position) * 0x1p-24;
  const double measured = (kNoiseFactor * error + angles) * largest(finite(logits));
  if (measured <= tolerance.bound.item<double>()) return tolerance;
  return Tolerance::absolute(
      measured, fmt::format("{} x the rounding error measured on the reference there, {} of the largest",
                            kNoiseFactor, number(error)));
}

at::Tensor causal_mask_of(const Tokens& tokens) {
  return closed_form::causal_mask(tokens.ids.size(0), tokens.ids.size(1)).unsqueeze(1);
}

at::Tensor shown(const Stages& stages, const Stage& stage) {
  const auto found = stages.find(stage);
  if (found == stages.end()) not_assessed(fmt::format("the candidate does not show {}", stage));
  return found->second.to(at::kDouble);
}

void not_assessed(const std::string& reason) {
  throw NotShown(reason);
}

}  // namespace plumbline
