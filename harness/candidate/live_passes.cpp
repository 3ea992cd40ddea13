#include "harness/candidate/live_passes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <utility>

namespace plumbline {
namespace {

class LiveDecoding : public Decoding {
 public:
  LiveDecoding(LiveSession& session, std::int64_t batch, std::int64_t capacity,
               std::vector<std::int64_t> cache_axes, std::int64_t layers)
      : session_(session), cache_axes_(std::move(cache_axes)), layers_(layers) {
    const auto reply = session_.ask("open_cache", {{"batch", batch}, {"capacity", capacity}});
    const auto found = reply.fields.find("cache");
    if (found == nullptr || !found->is_int64())
      throw CandidateFailed(
          fmt::format("{}: its reply to open_cache has no number 'cache'", session_.name()));
    handle_ = found->get<std::int64_t>();
    start_ = session_.starts();
  }

  ~LiveDecoding() override {
    if (start_ != session_.starts() || !session_.usable()) return;
    try {
      session_.ask("close_cache", {{"cache", handle_}});
    } catch (const std::exception& error) {
      session_.defer_failure(error.what());  // a destructor cannot throw
    }
  }

  at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
    auto fields = cache_fields();
    fields.update(pass_fields(tokens, options));
    return run_pass(session_, "extend", std::move(fields), tokens, options, layers_);
  }

  CacheView show() override;

  void fill_unwritten(double value) override {
    auto fields = cache_fields();
    fields["value"] = value;
    session_.ask("fill_cache", std::move(fields));
  }

 private:
  Json cache_fields() const {
    if (start_ != session_.starts())
      throw CandidateFailed(fmt::format("{}: its cache was lost when its process ended", session_.name()));
    return {{"cache", handle_}};
  }

  LiveSession& session_;
  std::vector<std::int64_t> cache_axes_;
  std::int64_t layers_;
  int start_;  // the run of the program that holds the cache
  std::int64_t handle_;
};

CacheView LiveDecoding::show() {
  const auto reply = session_.ask("show_cache", cache_fields());
  CacheView view;
  const auto number = [&](const char* key) {
    const auto found = reply.fields.find(key);
    if (found == nullptr || !found->is_integer_from(0, std::numeric_limits<std::int64_t>::max()))
      throw CandidateFailed(
          fmt::format("{}: its reply to show_cache has no number '{}'", session_.name(), key));
    return found->get<std::int64_t>();
  };
  view.length = number("length");
  view.capacity = number("capacity");
  view.bytes = number("bytes");
  view.held = reply.fields.contains("held") ? number("held") : view.bytes;
  for (std::int64_t layer = 0; reply.tensors.contains(fmt::format("layers.{}.keys", layer)); ++layer) {
    CacheView::Layer shown;
    for (auto [side, into] : {std::pair{"keys", &shown.keys}, {"values", &shown.values}}) {
      const auto name = fmt::format("layers.{}.{}", layer, side);
      const auto held = tensor_in(reply, name, session_.name());
      if (held.dim() != 4)
        throw CandidateFailed(
            fmt::format("{}: its cache's {} has {} axes, expected 4", session_.name(), name, held.dim()));
      *into = held.permute(cache_axes_);
    }
    view.layers.push_back(shown);
  }
  return view;
}

}  // namespace

const char* name_of(Padding padding) {
  return padding == Padding::right ? "right" : padding == Padding::left ? "left" : "none";
}

Json pass_fields(const Tokens& tokens, const PassOptions& options) {
  Json observe = Json::array();
  if (options.observer)
    for (const auto& kind : stage_kinds()) observe.push_back(kind);
  return {{"mode", options.training ? "training" : "evaluation"},
          {"dropout", options.dropout},
          {"padding", name_of(tokens.padding)},
          {"lengths", tokens.lengths},
          {"observe", observe}};
}

at::Tensor run_pass(LiveSession& session, const std::string& request, Json fields, const Tokens& tokens,
                    const PassOptions& options, std::int64_t layers, RequestedWeights weights) {
  const auto reply = session.ask(request, std::move(fields), {{"tokens", tokens.ids.contiguous()}}, weights);
  const auto logits = tensor_in(reply, "logits", session.name());
  const auto batch = tokens.ids.size(0), length = tokens.ids.size(1);
  if (logits.dim() != 3 || logits.size(0) != batch || logits.size(1) != length || logits.size(2) < 1)
    throw CandidateFailed(fmt::format("{}: its logits have shape [{}], expected [{}, {}, V]", session.name(),
                                      fmt::join(logits.sizes(), ", "), batch, length));
  if (!at::isFloatingType(logits.scalar_type()))
    throw CandidateFailed(fmt::format("{}: its logits have type {}, expected a floating type", session.name(),
                                      at::toString(logits.scalar_type())));
  if (options.observer)
    for (const auto& stage : stages_in_order(layers))
      if (const auto found = reply.tensors.find(to_string(stage)); found != reply.tensors.end())
        options.observer(stage, found->second);
  return logits;
}

std::unique_ptr<Decoding> open_live_cache(LiveSession& session, std::int64_t batch, std::int64_t capacity,
                                          std::vector<std::int64_t> cache_axes, std::int64_t layers) {
  return std::make_unique<LiveDecoding>(session, batch, capacity, std::move(cache_axes), layers);
}

}  // namespace plumbline
