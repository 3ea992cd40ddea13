#include "harness/candidate/live_text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "harness/candidate/live_passes.hpp"

namespace plumbline {
namespace {

void check_tokens(const at::Tensor& tokens, std::int64_t batch, std::int64_t most_tokens,
                  std::int64_t vocabulary, const std::string& candidate) {
  if (tokens.sizes() != at::IntArrayRef({batch, most_tokens}) || tokens.scalar_type() != at::kLong)
    throw CandidateFailed(fmt::format("{}: its text is {} [{}], expected int64 [{}, {}]", candidate,
                                      at::toString(tokens.scalar_type()), fmt::join(tokens.sizes(), ", "),
                                      batch, most_tokens));
  const auto ended = (tokens == -1).to(at::kLong);
  const bool resumes = (ended.diff(1, 1) < 0).any().item<bool>();
  if (((tokens < -1) | (tokens >= vocabulary)).any().item<bool>() || resumes)
    throw CandidateFailed(
        fmt::format("{}: its text holds {}; expected ids below {}, and -1 only after a row's end", candidate,
                    resumes ? "tokens after a -1" : "ids that are no tokens", vocabulary));
}

void check_probabilities(const at::Tensor& probabilities, std::int64_t batch, std::int64_t most_tokens,
                         const std::string& candidate) {
  if (probabilities.dim() != 3 || probabilities.size(0) != batch || probabilities.size(1) != most_tokens ||
      probabilities.size(2) < 1 || !at::isFloatingType(probabilities.scalar_type()))
    throw CandidateFailed(
        fmt::format("{}: its probabilities have shape [{}] and type {}, expected [{}, {}, V] and a "
                    "floating type",
                    candidate, fmt::join(probabilities.sizes(), ", "),
                    at::toString(probabilities.scalar_type()), batch, most_tokens));
}

}  // namespace

GeneratedText request_text(LiveSession& session, const Tokens& prompts, const TextRequest& request,
                           std::int64_t vocabulary) {
  const auto& s = request.sampling;
  const auto reply = session.ask("generate",
                                 {{"most_tokens", request.most_tokens},
                                  {"temperature", s.temperature},
                                  {"top_k", s.top_k},
                                  {"top_p", s.top_p},
                                  {"repetition_penalty", s.repetition_penalty},
                                  {"end", request.end ? Json(*request.end) : Json()},
                                  {"seed", request.seed},
                                  {"padding", name_of(prompts.padding)},
                                  {"lengths", prompts.lengths}},
                                 {{"tokens", prompts.ids.contiguous()}});
  const auto batch = prompts.ids.size(0);
  GeneratedText text{tensor_in(reply, "tokens", session.name()), {}};  // (B, most_tokens)
  check_tokens(text.tokens, batch, request.most_tokens, vocabulary, session.name());
  if (const auto shown = reply.tensors.find("probabilities"); shown != reply.tensors.end()) {
    text.probabilities = shown->second;
    check_probabilities(text.probabilities, batch, request.most_tokens, session.name());
  }
  return text;
}

}  // namespace plumbline
