#include "harness/model/model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "harness/model/pass_work.hpp"
#include "harness/system/error.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {

namespace {

constexpr std::int64_t kLongPass = 1024, kQueriesOfBlock = 64;

// Whether an entry of a table of formulas is this function.
template <typename Result, typename... Arguments>
bool is_function(const std::function<Result(Arguments...)>& entry, Result (*function)(Arguments...)) {
  const auto* target = entry.template target<Result (*)(Arguments...)>();
  return target != nullptr && *target == function;
}

// Attention for a few queries at a time, over the keys up to the last that one of them attends to. Scores
// then stay within the processor's cache: a seventh of the time with 4,097 tokens.
template <typename Attend>
at::Tensor attend_in_blocks(const Attend& attend, const at::Tensor& queries, const at::Tensor& keys,
                            const at::Tensor& values, const at::Tensor& mask) {
  std::vector<at::Tensor> blocks;
  for (std::int64_t first = 0; first < queries.size(2); first += kQueriesOfBlock) {
    const auto rows = std::min(kQueriesOfBlock, queries.size(2) - first);
    const auto mask_of_rows = mask.narrow(2, first, rows);
    const auto attended = mask_of_rows.any(2).any(0).any(0).nonzero();
    const auto end = attended.size(0) == 0 ? keys.size(2) : attended.max().item<std::int64_t>() + 1;
    blocks.push_back(attend(queries.narrow(2, first, rows), keys.narrow(2, 0, end), values.narrow(2, 0, end),
                            mask_of_rows.narrow(3, 0, end)));
  }
  return at::cat(blocks, 2);
}

}  // namespace

// What those layers of one pass share that follow the same rules.
struct Model::Pass {
  const Rules& rules;
  at::Tensor angles, query_angles;  // (B, T, 1, Dh/2)
  at::Tensor mask;                  // (B, 1, T, S) bool: true where a query attends to a key
  double dropout;
  KVCache* cache;           // null: keys and values are those of this pass
  std::int64_t write_slot;  // the first cache slot that this pass writes
  std::int64_t slots_to_read;
  const Observer& observer;
  const Replacement& replacement;

  at::Tensor observe(const Stage& stage, const at::Tensor& value) const {
    if (observer) observer(stage, value);
    return replacement ? replacement(stage, value) : value;
  }

  // Long passes whose scores nobody looks at. Masked keys then have a probability of 0 and can be left out.
  bool attends_in_blocks(std::int64_t queries) const {
    return queries > kLongPass && !observer && !replacement && dropout == 0 &&
           is_function(rules.formulas.apply_mask, hide_masked_scores);
  }
};

namespace {

constexpr const char* kKindsInLayers[] = {"attention_norm",
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

std::string parameter(std::int64_t layer, const char* name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

const at::Tensor& required_parameter(const Weights& weights, const std::string& name) {
  const auto found = weights.find(name);
  if (found == weights.end()) throw InputError(fmt::format("parameter '{}' is missing", name));
  return found->second;
}

// Whether a token of a pass is padding, or one before it in the cache.
bool has_padding(const at::Tensor& real, const KVCache* cache) {
  return !real.all().item<bool>() ||
         (cache != nullptr && !cache->real.narrow(1, 0, cache->length).all().item<bool>());
}

// The positions and cache slots of a pass's tokens.
struct PassLayout {
  at::Tensor positions;        // (B, T) int64
  std::int64_t slots_written;  // before this pass
  std::int64_t slots_to_read;
  MaskInputs mask_inputs;
};

// Records in the cache, if there is one, which of its new slots hold real tokens. Errors: CacheOverrun, with
// the cache unchanged.
PassLayout lay_out_pass(const at::Tensor& ids, const at::Tensor& real, bool padding_mask, KVCache* cache,
                        const CachePolicy& policy, const PassOptions& options) {
  const auto batch = ids.size(0), queries = ids.size(1);  // B, T
  const auto slots = [&](std::int64_t from, std::int64_t to) {
    return at::arange(from, to, at::TensorOptions().dtype(at::kLong).device(ids.device()));
  };

  // A row's positions count its real tokens; padding takes the position before it, at least 0.
  auto seen = at::full({batch}, options.first_position, ids.options());  // (B)
  std::int64_t slots_written = 0, slots_to_read = queries;
  if (cache != nullptr) {
    slots_written = cache->length;
    if (!policy.fits(slots_written + queries, cache->capacity))
      throw CacheOverrun(fmt::format("{} tokens do not fit a KV cache of {} slots with {} written", queries,
                                     cache->capacity, slots_written));
    seen = seen + policy.next_position(cache->seen, slots_written, cache->passes);
    slots_to_read = policy.readable_slots(slots_written + queries, cache->capacity);
  }
  const auto positions = (seen.unsqueeze(1) + real.cumsum(1) - 1).clamp_min(0);  // (B, T)

  auto real_keys = real;  // (B, S)
  if (cache != nullptr) {
    cache->real.narrow(1, slots_written, queries).copy_(real);
    real_keys = cache->real.narrow(1, 0, slots_to_read);
    cache->padding_mask = cache->padding_mask || padding_mask;
  }
  const MaskInputs mask_inputs{slots(slots_written, slots_written + queries),
                               slots(0, slots_to_read),
                               real,
                               real_keys,
                               options.training,
                               cache != nullptr,
                               cache != nullptr ? cache->padding_mask : padding_mask};
  return {positions, slots_written, slots_to_read, mask_inputs};
}

}  // namespace

std::string shape_of(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::vector<Stage> stages_in_order(std::int64_t layers) {
  std::vector<Stage> stages{{"embedding"}};
  for (std::int64_t layer = 0; layer < layers; ++layer)
    for (const auto* kind : kKindsInLayers) stages.push_back({kind, layer});
  stages.push_back({"final_norm"});
  stages.push_back({"logits"});
  return stages;
}

std::vector<std::string> stage_kinds() {
  std::vector<std::string> kinds;
  for (const auto& stage : stages_in_order(1)) kinds.push_back(stage.kind);
  return kinds;
}

bool has_keys(const std::string& kind) {
  return kind == "scores" || kind == "probabilities";
}

at::Tensor real_tokens(const Tokens& tokens) {
  const auto batch = tokens.ids.size(0), length = tokens.ids.size(1);
  if (tokens.lengths.empty() || tokens.padding == Padding::none)
    return at::ones({batch, length}, tokens.ids.options().dtype(at::kBool));
  const auto slots = at::arange(length, tokens.ids.options()).unsqueeze(0);  // (1, T)
  const auto lengths =
      at::tensor(at::ArrayRef<std::int64_t>(tokens.lengths), tokens.ids.options()).unsqueeze(1);  // (B, 1)
  return tokens.padding == Padding::right ? slots < lengths : slots >= length - lengths;
}

Model::Model(Specification specification, Weights weights, Formulas formulas,
             std::shared_ptr<const LocalOverrides> overrides)
    : type_(required_parameter(weights, kEmbedding).scalar_type()),
      device_(required_parameter(weights, kEmbedding).device()),
      rules_{std::move(specification), std::move(formulas)},
      overrides_(std::move(overrides)),
      frequencies_(rules_.formulas.frequencies(rules_.specification, type_, device_)) {
  for (const auto& expected : this->specification().parameters()) {
    const auto& actual = required_parameter(weights, expected.name);
    if (actual.sizes() != at::IntArrayRef(expected.shape))
      throw InputError(fmt::format("parameter '{}' has shape {}, expected {}", expected.name,
                                   shape_of(actual.sizes()), shape_of(expected.shape)));
    weights_.emplace(expected.name, actual);
  }
}

Model Model::with_weights(Weights weights) const {
  return {specification(), std::move(weights), formulas(), overrides_};
}

const Rules& Model::rules_for(std::optional<std::int64_t> layer, const PassKind& pass) const {
  const auto* found = overrides_ == nullptr ? nullptr : overrides_->find(layer, pass);
  return found == nullptr ? rules_ : *found;
}

at::Tensor Model::forward(const Tokens& tokens, const PassOptions& options) const {
  return run(tokens, nullptr, options);
}

at::Tensor Model::extend(KVCache& cache, const Tokens& tokens, const PassOptions& options) const {
  return run(tokens, &cache, options);
}

KVCache Model::make_cache(std::int64_t batch, std::int64_t capacity) const {
  const auto& s = specification();
  const auto entry =
      formulas().cache_entry(at::zeros({batch, 1, s.num_key_value_heads, s.head_size()}),
                             at::zeros({batch, 1, s.num_key_value_heads, s.head_size()}), s.repeat_factor());
  const auto options = at::TensorOptions().dtype(type_).device(device_);
  KVCache cache;
  cache.capacity = capacity;
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer)
    cache.layers.push_back({at::zeros({batch, capacity, entry.size(2), s.head_size()}, options),
                            at::zeros({batch, capacity, entry.size(2), s.head_size()}, options)});
  cache.real = at::zeros({batch, capacity}, options.dtype(at::kBool));
  cache.seen = at::zeros({batch}, options.dtype(at::kLong));
  return cache;
}

at::Tensor Model::run(const Tokens& tokens, KVCache* cache, const PassOptions& options) const {
  const auto ids = tokens.ids.to(device_);
  const auto real = real_tokens(tokens).to(device_);  // (B, T)
  const PassKind kind{options.training, cache != nullptr, overrides_ != nullptr && has_padding(real, cache)};
  const auto rules_of = [&](std::optional<std::int64_t> layer) -> const Rules& {
    return rules_for(layer, kind);
  };
  const auto& [formulas, s] = std::tie(rules_of({}).formulas, rules_of({}).specification);
  const auto layout = lay_out_pass(ids, real, tokens.padding != Padding::none, cache, formulas, options);
  const auto frequencies_of = [&](const Rules& rules) {
    return &rules == &rules_ ? frequencies_ : rules.formulas.frequencies(rules.specification, type_, device_);
  };
  const auto make_pass = [&](const Rules& rules) {
    const auto angles = rules.formulas.angles(layout.positions, frequencies_of(rules));
    const auto query_positions = rules.formulas.query_positions(layout.positions, cache != nullptr);
    return Pass{rules,
                angles,
                query_positions.is_same(layout.positions)
                    ? angles
                    : rules.formulas.angles(query_positions, frequencies_of(rules)),
                rules.formulas.attention_mask(layout.mask_inputs),
                rules.formulas.dropout_rate(options.dropout, options.training),
                cache,
                rules.formulas.write_slot(layout.slots_written),
                layout.slots_to_read,
                options.observer,
                options.replacement};
  };
  const auto outer_pass = make_pass(rules_of({}));

  const auto embedding = formulas.read_parameter(weights_, kEmbedding);  // (V, D)
  auto x = outer_pass.observe({"embedding"},
                              formulas.transform_embedding(at::embedding(embedding, ids), ids));  // (B, T, D)
  x = formulas.dropout(x, outer_pass.dropout);
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    const auto& rules = rules_of(layer);
    const auto pass = &rules == &outer_pass.rules ? outer_pass : make_pass(rules);
    const auto attention_input =
        pass.observe({"attention_norm", layer}, norm(rules, parameter(layer, "input_layernorm"), x));
    x = rules.formulas.add_residual(x, attention_input, attention(layer, attention_input, pass));
    x = pass.observe({"after_attention", layer}, x);
    const auto feed_forward_input = pass.observe(
        {"feed_forward_norm", layer}, norm(rules, parameter(layer, "post_attention_layernorm"), x));
    x = rules.formulas.add_residual(x, feed_forward_input, feed_forward(layer, feed_forward_input, pass));
    x = pass.observe({"after_feed_forward", layer}, x);
  }
  WorkClock::add(pass_work(s, ids.numel(), ids.size(1) + (cache == nullptr ? 0 : cache->length), type_));
  x = outer_pass.observe({"final_norm"}, norm(outer_pass.rules, "model.norm", x));
  if (cache != nullptr) {
    cache->length += ids.size(1);
    ++cache->passes;
    cache->seen += real.sum(1);
  }
  const auto head = s.tie_word_embeddings ? embedding : formulas.read_parameter(weights_, kHead);
  const auto bias = s.head_bias ? formulas.read_parameter(weights_, "lm_head.bias") : at::Tensor();
  return outer_pass.observe({"logits"},
                            formulas.transform_logits(formulas.linear(x, head, bias)));  // (B, T, V)
}

at::Tensor Model::attention(std::int64_t layer, const at::Tensor& x, const Pass& pass) const {
  const auto& formulas = pass.rules.formulas;
  const auto& s = pass.rules.specification;
  const auto batch = x.size(0), queries = x.size(1);
  const auto project_heads = [&](const char* name, std::int64_t heads) {
    return project(pass.rules, parameter(layer, name), x).view({batch, queries, heads, s.head_size()});
  };
  const auto normalise_heads = [&](const char* name, const at::Tensor& heads) {
    return s.query_key_norm ? norm(pass.rules, parameter(layer, name), heads) : heads;
  };
  const auto observe = [&](const char* kind, const at::Tensor& value) {
    return pass.observe({kind, layer}, value);
  };

  const auto q = observe("q", normalise_heads("self_attn.q_norm",  // (B, T, H, Dh)
                                              project_heads("self_attn.q_proj", s.num_attention_heads)));
  const auto k = observe("k", normalise_heads("self_attn.k_norm",  // (B, T, K, Dh)
                                              project_heads("self_attn.k_proj", s.num_key_value_heads)));
  const auto v = observe("v", formulas.transform_value(  // (B, T, K, Dh)
                                  project_heads("self_attn.v_proj", s.num_key_value_heads), pass.angles));
  const auto q_rotated = observe("q_rotated", formulas.rotate_query(q, pass.query_angles, s.rotary));
  const auto k_rotated = observe("k_rotated", formulas.rotate_key(k, pass.angles, s.rotary));

  auto factor = s.repeat_factor();
  auto keys = k_rotated, values = v;  // (B, S, K, Dh)
  if (pass.cache != nullptr) {
    auto& cached = pass.cache->layers[static_cast<std::size_t>(formulas.cache_layer(layer))];
    cached.keys.narrow(1, pass.write_slot, queries).copy_(formulas.cache_entry(k_rotated, k, factor));
    cached.values.narrow(1, pass.write_slot, queries).copy_(formulas.cache_entry(v, v, factor));
    keys = cached.keys.narrow(1, 0, pass.slots_to_read);
    values = cached.values.narrow(1, 0, pass.slots_to_read);
    factor = s.num_attention_heads / keys.size(2);
  }
  const auto& repeat = pass.cache == nullptr ? formulas.repeat_kv : formulas.repeat_cached_kv;
  keys = repeat(keys, factor).transpose(1, 2);      // (B, H, S, Dh)
  values = repeat(values, factor).transpose(1, 2);  // (B, H, S, Dh)

  const auto attend = [&](const at::Tensor& some_q, const at::Tensor& some_keys,
                          const at::Tensor& some_values, const at::Tensor& mask) {  // -> (B, H, T, Dh)
    const auto unmasked =
        formulas.attention_scores(some_q, some_keys, formulas.attention_scale(s));  // (B, H, T, S)
    const auto scores = observe("scores", formulas.apply_mask(unmasked, mask));
    const auto probabilities =
        observe("probabilities", formulas.mask_probabilities(formulas.softmax(scores), mask));
    return formulas.weigh_values(formulas.dropout(probabilities, pass.dropout), some_values);
  };
  const auto q_by_head = q_rotated.transpose(1, 2);  // (B, H, T, Dh)
  const auto heads = pass.attends_in_blocks(queries)
                         ? attend_in_blocks(attend, q_by_head, keys, values, pass.mask)
                         : attend(q_by_head, keys, values, pass.mask);
  const auto context = observe("context", formulas.join_heads(heads));  // (B, T, D)
  return formulas.dropout(
      observe("attention_out", project(pass.rules, parameter(layer, "self_attn.o_proj"), context)),
      pass.dropout);
}

at::Tensor Model::feed_forward(std::int64_t layer, const at::Tensor& x, const Pass& pass) const {
  const auto observe = [&](const char* kind, const at::Tensor& value) {
    return pass.observe({kind, layer}, value);
  };
  const auto gate = observe("gate", project(pass.rules, parameter(layer, "mlp.gate_proj"), x));  // (B, T, F)
  const auto up = observe("up", project(pass.rules, parameter(layer, "mlp.up_proj"), x));        // (B, T, F)
  const auto gated =
      observe("gated", pass.rules.formulas.gated_unit(gate, up, pass.rules.specification.hidden_act));
  return pass.rules.formulas.dropout(
      observe("feed_forward_out", project(pass.rules, parameter(layer, "mlp.down_proj"), gated)),
      pass.dropout);
}

at::Tensor Model::project(const Rules& rules, const std::string& prefix, const at::Tensor& x) const {
  const auto& formulas = rules.formulas;
  const auto bias = weights_.contains(prefix + ".bias") ? formulas.read_parameter(weights_, prefix + ".bias")
                                                        : at::Tensor();
  return formulas.linear(x, formulas.read_parameter(weights_, prefix + ".weight"), bias);
}

at::Tensor Model::norm(const Rules& rules, const std::string& prefix, const at::Tensor& x) const {
  const auto& [formulas, s] = std::tie(rules.formulas, rules.specification);
  if (!formulas.has_norm(prefix)) return x;
  const auto weight = s.norm_weights ? formulas.read_parameter(weights_, prefix + ".weight")
                                     : at::ones({x.size(-1)}, x.options());
  return formulas.norm(x, weight, s.rms_norm_eps, s.norm_precision);
}

}  // namespace plumbline
