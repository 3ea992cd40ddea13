#include "harness/model/model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "harness/system/error.hpp"

namespace plumbline {

// What all layers of one pass share that hold to the same rules.
struct Model::Pass {
  const Rules& rules;
  at::Tensor angles;   // (B, T, 1, Dh/2)
  at::Tensor allowed;  // (B, 1, T, S) bool
  double dropout;
  KVCache* cache;      // null: keys are the queries' own
  std::int64_t slot;   // where this pass writes the cache
  std::int64_t slots;  // how many it reads
  const Observer& observe;
  const Replacement& replace;

  at::Tensor see(const std::string& stage, const at::Tensor& value) const {
    if (observe) observe(stage, value);
    return replace ? replace(stage, value) : value;
  }
};

namespace {

constexpr const char* kLayerStages[] = {"attention_norm",
                                        "q",
                                        "k",
                                        "v",
                                        "q_rotated",
                                        "k_rotated",
                                        "scores",
                                        "probabilities",
                                        "context",
                                        "attention_out",
                                        "after_attention",
                                        "feed_forward_norm",
                                        "gate",
                                        "up",
                                        "gated",
                                        "feed_forward_out",
                                        "after_feed_forward"};

std::string in_layer(std::int64_t layer, const char* name) {
  return fmt::format("layers.{}.{}", layer, name);
}
std::string parameter(std::int64_t layer, const char* name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

const at::Tensor& any_of(const Weights& weights, const std::string& name) {
  const auto found = weights.find(name);
  if (found == weights.end()) throw InputError(fmt::format("parameter '{}' is missing", name));
  return found->second;
}

// Where the tokens of a pass stand, and what they may look at.
struct PassPlace {
  at::Tensor positions;   // (B, T)
  std::int64_t before;    // slots of the cache that were written
  std::int64_t readable;  // slots that are read
  Sight sight;
};

// Marks in the cache, where there is one, which of its new slots hold real tokens. Errors: CacheOverrun,
// with the cache unchanged.
PassPlace place_of(const at::Tensor& ids, const at::Tensor& real, bool padding_mask, KVCache* cache,
                   const CachePolicy& policy, const PassOptions& options) {
  const auto batch = ids.size(0), queries = ids.size(1);  // B, T
  const auto slots = [&](std::int64_t from, std::int64_t to) {
    return at::arange(from, to, at::TensorOptions().dtype(at::kLong).device(ids.device()));
  };

  // A row's positions count its real tokens; padding stays at the position before the first.
  auto seen = at::full({batch}, options.first_position, ids.options());  // (B)
  std::int64_t before = 0, readable = queries;
  if (cache != nullptr) {
    before = cache->length;
    if (!policy.fits(before + queries, cache->capacity))
      throw CacheOverrun(fmt::format("{} tokens do not fit a KV cache of {} slots with {} written", queries,
                                     cache->capacity, before));
    seen = seen + policy.next_position(cache->seen);
    readable = policy.readable(before + queries, cache->capacity);
  }
  const auto positions = (seen.unsqueeze(1) + real.cumsum(1) - 1).clamp_min(0);  // (B, T)

  auto real_keys = real;  // (B, S)
  if (cache != nullptr) {
    cache->real.narrow(1, before, queries).copy_(real);
    real_keys = cache->real.narrow(1, 0, readable);
    cache->padding_mask = cache->padding_mask || padding_mask;
  }
  const Sight sight{slots(before, before + queries),
                    slots(0, readable),
                    real,
                    real_keys,
                    options.training,
                    cache != nullptr,
                    cache != nullptr ? cache->padding_mask : padding_mask};
  return {positions, before, readable, sight};
}

}  // namespace

std::string shape_of(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::vector<std::string> stage_names(std::int64_t layers) {
  std::vector<std::string> names{"embedding"};
  for (std::int64_t layer = 0; layer < layers; ++layer)
    for (const auto* stage : kLayerStages) names.push_back(fmt::format("layers.{}.{}", layer, stage));
  names.insert(names.end(), {"final_norm", "logits"});
  return names;
}

at::Tensor real_tokens(const Tokens& tokens) {
  const auto batch = tokens.ids.size(0), length = tokens.ids.size(1);
  if (tokens.lengths.empty() || tokens.padding == Padding::none)
    return at::ones({batch, length}, tokens.ids.options().dtype(at::kBool));
  const auto places = at::arange(length, tokens.ids.options()).unsqueeze(0);  // (1, T)
  const auto lengths =
      at::tensor(at::ArrayRef<std::int64_t>(tokens.lengths), tokens.ids.options()).unsqueeze(1);  // (B, 1)
  return tokens.padding == Padding::right ? places < lengths : places >= length - lengths;
}

Model::Model(Specification specification, Weights weights, Formulas formulas,
             std::shared_ptr<const LocalRules> local)
    : type_(any_of(weights, kEmbedding).scalar_type()),
      device_(any_of(weights, kEmbedding).device()),
      rules_{std::move(specification), std::move(formulas)},
      local_(std::move(local)),
      frequencies_(rules_.formulas.frequencies(rules_.specification, type_, device_)) {
  for (const auto& expected : this->specification().parameters()) {
    const auto& actual = any_of(weights, expected.name);
    if (actual.sizes() != at::IntArrayRef(expected.shape))
      throw InputError(fmt::format("parameter '{}' has shape {}, expected {}", expected.name,
                                   shape_of(actual.sizes()), shape_of(expected.shape)));
    weights_.emplace(expected.name, actual);
  }
}

Model Model::with(Weights weights) const {
  return {specification(), std::move(weights), formulas(), local_};
}

const Rules& Model::rules_in(std::optional<std::int64_t> layer, bool training, bool cached) const {
  const auto* local = local_ == nullptr ? nullptr : local_->in(layer, training, cached);
  return local == nullptr ? rules_ : *local;
}

at::Tensor Model::forward(const Tokens& tokens, const PassOptions& options) const {
  return run(tokens, nullptr, options);
}

at::Tensor Model::extend(KVCache& cache, const Tokens& tokens, const PassOptions& options) const {
  return run(tokens, &cache, options);
}

KVCache Model::make_cache(std::int64_t batch, std::int64_t capacity) const {
  const auto& s = specification();
  const auto kept =
      formulas().keep(at::zeros({batch, 1, s.num_key_value_heads, s.head_size()}),
                      at::zeros({batch, 1, s.num_key_value_heads, s.head_size()}), s.repeat_factor());
  const auto options = at::TensorOptions().dtype(type_).device(device_);
  KVCache cache;
  cache.capacity = capacity;
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer)
    cache.layers.push_back({at::zeros({batch, capacity, kept.size(2), s.head_size()}, options),
                            at::zeros({batch, capacity, kept.size(2), s.head_size()}, options)});
  cache.real = at::zeros({batch, capacity}, options.dtype(at::kBool));
  cache.seen = at::zeros({batch}, options.dtype(at::kLong));
  return cache;
}

at::Tensor Model::run(const Tokens& tokens, KVCache* cache, const PassOptions& options) const {
  const auto rules_of = [&](std::optional<std::int64_t> layer) -> const Rules& {
    return rules_in(layer, options.training, cache != nullptr);
  };
  const auto& [formulas, s] = std::tie(rules_of({}).formulas, rules_of({}).specification);
  const auto ids = tokens.ids.to(device_);
  const auto real = real_tokens(tokens).to(device_);  // (B, T)
  const auto place = place_of(ids, real, tokens.padding != Padding::none, cache, formulas, options);
  const auto frequencies_of = [&](const Rules& rules) {
    return &rules == &rules_ ? frequencies_ : rules.formulas.frequencies(rules.specification, type_, device_);
  };
  const auto pass_by = [&](const Rules& rules) {
    return Pass{rules,
                rules.formulas.angles(place.positions, frequencies_of(rules)),
                rules.formulas.mask(place.sight),
                rules.formulas.dropout_rate(options.dropout, options.training),
                cache,
                rules.formulas.slot(place.before),
                place.readable,
                options.observe,
                options.replace};
  };
  const auto outside = pass_by(rules_of({}));

  const auto embedding = formulas.read(weights_, kEmbedding);                             // (V, D)
  auto x = outside.see("embedding", formulas.embed(at::embedding(embedding, ids), ids));  // (B, T, D)
  x = formulas.drop(x, outside.dropout);
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    const auto& rules = rules_of(layer);
    const auto pass = &rules == &outside.rules ? outside : pass_by(rules);
    const auto attended =
        pass.see(in_layer(layer, "attention_norm"), norm(rules, parameter(layer, "input_layernorm"), x));
    x = rules.formulas.add(x, attended, attention(layer, attended, pass));
    x = pass.see(in_layer(layer, "after_attention"), x);
    const auto fed = pass.see(in_layer(layer, "feed_forward_norm"),
                              norm(rules, parameter(layer, "post_attention_layernorm"), x));
    x = rules.formulas.add(x, fed, feed_forward(layer, fed, pass));
    x = pass.see(in_layer(layer, "after_feed_forward"), x);
  }
  x = outside.see("final_norm", norm(outside.rules, "model.norm", x));
  if (cache != nullptr) {
    cache->length += ids.size(1);
    cache->seen += real.sum(1);
  }
  const auto head = s.tie_word_embeddings ? embedding : formulas.read(weights_, kHead);
  const auto bias = s.head_bias ? formulas.read(weights_, "lm_head.bias") : at::Tensor();
  return outside.see("logits", formulas.head(formulas.product(x, head, bias)));  // (B, T, V)
}

at::Tensor Model::attention(std::int64_t layer, const at::Tensor& x, const Pass& pass) const {
  const auto& formulas = pass.rules.formulas;
  const auto& s = pass.rules.specification;
  const auto batch = x.size(0), queries = x.size(1);
  const auto heads = [&](const at::Tensor& joined, std::int64_t count) {
    return joined.view({batch, queries, count, s.head_size()});
  };
  const auto see = [&](const char* stage, const at::Tensor& value) {
    return pass.see(in_layer(layer, stage), value);
  };

  const auto normed = [&](const char* name, const at::Tensor& each) {
    return s.query_key_norm ? norm(pass.rules, parameter(layer, name), each) : each;
  };
  const auto q =
      see("q", normed("self_attn.q_norm", heads(project(pass.rules, parameter(layer, "self_attn.q_proj"), x),
                                                s.num_attention_heads)));  // (B, T, H, Dh)
  const auto k =
      see("k", normed("self_attn.k_norm", heads(project(pass.rules, parameter(layer, "self_attn.k_proj"), x),
                                                s.num_key_value_heads)));  // (B, T, K, Dh)
  const auto v = see("v", formulas.value(heads(project(pass.rules, parameter(layer, "self_attn.v_proj"), x),
                                               s.num_key_value_heads),
                                         pass.angles));  // (B, T, K, Dh)
  const auto q_rotated = see("q_rotated", formulas.rotate_query(q, pass.angles, s.rotary));
  const auto k_rotated = see("k_rotated", formulas.rotate_key(k, pass.angles, s.rotary));

  auto factor = s.repeat_factor();
  auto keys = k_rotated, values = v;  // (B, S, K, Dh)
  if (pass.cache != nullptr) {
    auto& kept = pass.cache->layers[static_cast<std::size_t>(formulas.cache_of(layer))];
    kept.keys.narrow(1, pass.slot, queries).copy_(formulas.keep(k_rotated, k, factor));
    kept.values.narrow(1, pass.slot, queries).copy_(formulas.keep(v, v, factor));
    keys = kept.keys.narrow(1, 0, pass.slots);
    values = kept.values.narrow(1, 0, pass.slots);
    factor = s.num_attention_heads / keys.size(2);
  }
  const auto& repeat = pass.cache == nullptr ? formulas.repeat : formulas.repeat_cached;
  keys = repeat(keys, factor).transpose(1, 2);      // (B, H, S, Dh)
  values = repeat(values, factor).transpose(1, 2);  // (B, H, S, Dh)

  const auto raw = formulas.score(q_rotated.transpose(1, 2), keys, formulas.scale(s));  // (B, H, T, S)
  const auto scores = see("scores", formulas.hide(raw, pass.allowed));
  const auto probabilities = formulas.drop(see("probabilities", formulas.normalise(scores)), pass.dropout);
  const auto context =
      see("context", formulas.mix(probabilities, values).transpose(1, 2).reshape(x.sizes()));  // (B, T, D)
  return formulas.drop(
      see("attention_out", project(pass.rules, parameter(layer, "self_attn.o_proj"), context)), pass.dropout);
}

at::Tensor Model::feed_forward(std::int64_t layer, const at::Tensor& x, const Pass& pass) const {
  const auto see = [&](const char* stage, const at::Tensor& value) {
    return pass.see(in_layer(layer, stage), value);
  };
  const auto gate = see("gate", project(pass.rules, parameter(layer, "mlp.gate_proj"), x));  // (B, T, F)
  const auto up = see("up", project(pass.rules, parameter(layer, "mlp.up_proj"), x));        // (B, T, F)
  const auto gated = see("gated", pass.rules.formulas.gate(gate, up, pass.rules.specification.hidden_act));
  return pass.rules.formulas.drop(
      see("feed_forward_out", project(pass.rules, parameter(layer, "mlp.down_proj"), gated)), pass.dropout);
}

at::Tensor Model::project(const Rules& rules, const std::string& prefix, const at::Tensor& x) const {
  const auto& formulas = rules.formulas;
  const auto bias =
      weights_.contains(prefix + ".bias") ? formulas.read(weights_, prefix + ".bias") : at::Tensor();
  return formulas.product(x, formulas.read(weights_, prefix + ".weight"), bias);
}

at::Tensor Model::norm(const Rules& rules, const std::string& prefix, const at::Tensor& x) const {
  const auto& [formulas, s] = std::tie(rules.formulas, rules.specification);
  if (!formulas.norm_stands(prefix)) return x;
  const auto weight =
      s.norm_weights ? formulas.read(weights_, prefix + ".weight") : at::ones({x.size(-1)}, x.options());
  return formulas.norm(x, weight, s.rms_norm_eps, s.norm_precision);
}

}  // namespace plumbline
