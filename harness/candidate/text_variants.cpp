// Correct generation loops with different capabilities and ways of drawing.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include "harness/candidate/arranged_reference.hpp"

namespace plumbline::arrangements {
namespace {

at::Tensor take_largest(const at::Tensor& scores, at::Generator&) {
  return scores.argmax(-1);
}

// The Gumbel-max trick: the largest of the scores with Gumbel noise (Gumbel 1954).
at::Tensor draw_by_gumbel_noise(const at::Tensor& scores, at::Generator& generator) {
  const auto uniform = at::rand(scores.sizes(), generator, scores.options());
  return (scores - (-uniform.clamp_min(1e-300).log()).log()).argmax(-1);
}

at::Tensor draw_by_multinomial(const at::Tensor& scores, at::Generator& generator) {
  return at::multinomial(at::softmax(scores, -1), 1, false, generator).squeeze(-1);
}

// Inverts the cumulative distribution.
at::Tensor draw_by_cumulative_sum(const at::Tensor& scores, at::Generator& generator) {
  const auto below = at::softmax(scores, -1).cumsum(-1);
  const auto uniform = at::rand({scores.size(0), 1}, generator, scores.options());
  return (below <= uniform * below.narrow(-1, below.size(-1) - 1, 1)).sum(-1);
}

struct Loop {
  const char *name, *what;
  std::vector<std::string> abilities;                            // of "generate."
  at::Tensor (*draw)(const at::Tensor& scores, at::Generator&);  // (B, V) float64 -> (B)
  bool caches = false;                                           // else all is computed again
};

const std::vector<Loop> kLoops = {
    {"text-greedy-alone",
     "its loop only takes the most likely token, and computes everything again for each token",
     {"greedy"},
     take_largest},
    {"text-by-noise",
     "tokens are drawn as the largest logit with Gumbel noise; there is no top-k and no top-p",
     {"greedy", "temperature", "seed", "end"},
     draw_by_gumbel_noise,
     true},
    {"text-by-multinomial",
     "the library draws tokens from the k most likely; there is no end token",
     {"greedy", "temperature", "top_k", "seed"},
     draw_by_multinomial,
     true},
    {"text-without-seed",
     "its loop always draws with temperature and top-p, and takes no seed",
     {"temperature", "top_p"},
     draw_by_cumulative_sum,
     true},
    {"text-without-cache",
     "its loop supports every setting, and computes everything again for each token",
     {"greedy", "temperature", "top_k", "top_p", "repetition_penalty", "end", "seed", "padding.left",
      "padding.right"},
     draw_by_cumulative_sum},
};

class GenerationLoop : public ArrangedReference {
 public:
  GenerationLoop(const Loop& loop, const std::string& title, const Specification& specification,
                 at::ScalarType type, at::Device device)
      : ArrangedReference(title, specification, type, device), loop_(loop) {}

  std::set<std::string> capabilities() const override {
    auto all = capabilities_without({});
    std::erase_if(all, [](const std::string& name) { return name.starts_with("generate."); });
    for (const auto& ability : loop_.abilities) all.insert("generate." + ability);
    return all;
  }

  GeneratedText generate(const Tokens& prompts, const TextRequest& request) override {
    const auto& sampling = request.sampling;
    require("greedy", sampling.greedy());
    require("temperature", !sampling.greedy() && sampling.temperature != 1);
    require("top_k", sampling.top_k != 0);
    require("top_p", sampling.top_p < 1);
    require("repetition_penalty", sampling.repetition_penalty != 1);
    require("end", request.end.has_value());
    require("padding.left", prompts.padding == Padding::left);
    require("padding.right", prompts.padding == Padding::right);
    const at::NoGradGuard no_gradients;
    auto generator = at::detail::createCPUGenerator(can("seed") ? request.seed : draws_++);
    if (prompts.padding == Padding::none) return generate_rows(prompts.ids, request, generator);
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 0; row < prompts.ids.size(0); ++row) {
      const auto prompt = prompts.ids[row].masked_select(real_tokens(row_of(prompts, row))[0]);
      rows.push_back(generate_rows(prompt.unsqueeze(0), request, generator).tokens);
    }
    return {at::cat(rows, 0), {}};
  }

 private:
  bool can(const std::string& ability) const { return capabilities().contains("generate." + ability); }
  void require(const std::string& ability, bool sampling) const {
    if (sampling && !can(ability)) throw NotShown("its loop has no " + ability);
  }

  // Prompts of one length.
  GeneratedText generate_rows(at::Tensor ids, const TextRequest& request, at::Generator& generator) {
    const auto batch = ids.size(0), prompt = ids.size(1), most = prompt + request.most_tokens;
    const auto decoding = loop_.caches ? inner().decode(batch, most) : nullptr;
    auto running = at::ones({batch}, at::kBool);
    auto tokens = at::full({batch, request.most_tokens}, -1, at::kLong);
    for (auto length = prompt; length < most && running.any().item<bool>(); ++length) {
      const auto logits = !decoding ? inner().forward({ids, {}, Padding::none}, {})
                          : length == prompt
                              ? decoding->extend({ids, {}, Padding::none}, {})
                              : decoding->extend({ids.narrow(1, length - 1, 1), {}, Padding::none}, {});
      const auto next = choose_tokens(logits.select(1, logits.size(1) - 1).to(at::kCPU, at::kDouble), ids,
                                      request.sampling, generator);
      tokens.select(1, length - prompt).copy_(at::where(running, next, -1));
      if (request.end) running = running & (next != *request.end);
      ids = at::cat({ids, next.unsqueeze(1)}, 1);
    }
    return {tokens, {}};
  }

  at::Tensor choose_tokens(const at::Tensor& logits, const at::Tensor& before, const Sampling& sampling,
                           at::Generator& generator) const {
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 0; row < logits.size(0); ++row) {
      auto scores = logits[row];
      if (sampling.repetition_penalty != 1)
        scores = penalise_repetition(scores, before[row], sampling.repetition_penalty);
      if (!sampling.greedy())
        scores = keep_top_p(keep_top_k(scores / sampling.temperature, sampling.top_k), sampling.top_p);
      rows.push_back(scores);
    }
    const auto scores = at::stack(rows);
    return sampling.greedy() ? take_largest(scores, generator) : loop_.draw(scores, generator);
  }

  Loop loop_;
  std::uint64_t draws_ = 0;
};

}  // namespace

std::vector<Arrangement> text_arrangements() {
  std::vector<Arrangement> all;
  for (const auto& loop : kLoops)
    all.push_back({loop.name, loop.what,
                   [loop](const std::string& title, const Specification& specification, at::ScalarType type,
                          at::Device device) -> std::unique_ptr<Candidate> {
                     return std::make_unique<GenerationLoop>(loop, title, specification, type, device);
                   }});
  return all;
}

}  // namespace plumbline::arrangements
