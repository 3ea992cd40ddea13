#include <limits>

#include "harness/model/departures/departure.hpp"

namespace plumbline::departures {
namespace {

using at::Tensor;

const char* idle_with_one_repeated_head(const Specification& s) {
  return s.num_key_value_heads == 1 ? "with one key/value head both ways of repeating give the same"
                                    : idle_without_repetition(s);
}

// Scales matrices with these endings by 1/sqrt(2 layers), as GPT-2 does all that write into the residual
// stream.
void scale_initial_values(DepartedModel& d, const std::vector<std::string>& endings) {
  const double share = 1 / std::sqrt(2.0 * static_cast<double>(d.specification.num_hidden_layers));
  compose(d.formulas.initial_values,
          [endings, share](const auto& initial_values, const std::string& name, const Tensor& values) {
            const auto has_ending = [&](const std::string& ending) { return name.ends_with(ending); };
            const auto initial = initial_values(name, values);
            return std::any_of(endings.begin(), endings.end(), has_ending) ? initial * share : initial;
          });
}

template <typename Change>
void change_initial_embedding(DepartedModel& d, Change change) {
  compose(d.formulas.initial_values,
          [change](const auto& initial_values, const std::string& name, const Tensor& values) {
            const auto initial = initial_values(name, values);
            if (name != kEmbedding) return initial;
            auto changed = initial.clone();
            change(changed);
            return changed;
          });
}

template <typename Change>
void change_repetition(DepartedModel& d, Change change) {
  compose(d.formulas.repeat_kv, change);
  compose(d.formulas.repeat_cached_kv, change);
}

Tensor repeat_tiled(const Tensor& x, std::int64_t factor) {
  return x.repeat({1, 1, factor, 1});
}

// Chapter 1: Configuration.
const std::vector<Departure> kConfigurationDepartures = {
    {"layers-23", [](Specification& s, double layers) { s.num_hidden_layers = round_to_count(layers); },
     nullptr,
     DepartureParameter{"it has {} layers",
                        [](const Specification& s) { return to_double(s.num_hidden_layers + 15); },
                        {},
                        "num_hidden_layers"}},
    {"feed-forward-4x", [](Specification& s, double size) { s.intermediate_size = round_to_count(size); },
     nullptr,
     DepartureParameter{"the feed-forward is {} wide",
                        [](const Specification& s) { return to_double(4 * s.hidden_size); },
                        {},
                        "intermediate_size"}},
    {"theta-1e4", [](Specification& s, double theta) { s.rope_theta = theta; }, nullptr,
     DepartureParameter{"rotary theta is {}",
                        [](const Specification& s) { return s.rope_theta / 100; },
                        {1e4, 5e5, 1e6, 1e5, 1e3, 2e4, 5e4, 2e5, 3e5, 2e6, 5e6, 1e7, 1e8, 100},
                        "rope_theta",
                        true,
                        true}},
    {"eps-1e-6", [](Specification& s, double eps) { s.rms_norm_eps = eps; }, nullptr,
     DepartureParameter{"RMSNorm's eps is {}",
                        [](const Specification& s) { return s.rms_norm_eps / 10; },
                        {1e-6, 1e-5, 1e-8, 0x1p-23, 1e-4, 1e-3, 1e-7, 1e-10, 1e-12, 1e-2},
                        "rms_norm_eps",
                        true}},
    {"dropout-0.5", [](Specification& s, double share) { s.dropout = share; }, nullptr,
     DepartureParameter{
         "dropout of {} is configured", [](const Specification&) { return 0.5; }, {0.1, 0.2}, "dropout"}},
    {"embedding-standard-normal", [](Specification& s) { s.initialization.embedding = {1}; }},
    {"embedding-zero-row",
     [](DepartedModel& d) {
       change_initial_embedding(d, [](const Tensor& embedding) { embedding[0].zero_(); });
     }},
    {"vocabulary-padded", [](Specification& s, double size) { s.vocab_size = round_to_count(size); }, nullptr,
     DepartureParameter{"the vocabulary has {} rows",
                        [](const Specification& s) { return to_double((s.vocab_size / 64 + 1) * 64); },
                        {},
                        "vocab_size"}},
    {"width-768", [](Specification& s, double width) { s.hidden_size = round_to_count(width); }, nullptr,
     DepartureParameter{"it is {} wide",
                        [](const Specification& s) { return to_double(s.hidden_size + s.hidden_size / 2); },
                        {},
                        "hidden_size"}},
    {"heads-doubled", [](Specification& s, double heads) { s.num_attention_heads = round_to_count(heads); },
     nullptr,
     DepartureParameter{"it has {} query heads",
                        [](const Specification& s) { return to_double(2 * s.num_attention_heads); },
                        {},
                        "num_attention_heads"}},
    {"positions-2048",
     [](Specification& s, double last) { s.max_position_embeddings = round_to_count(last); }, nullptr,
     DepartureParameter{"it supports {} positions",
                        [](const Specification& s) { return to_double(s.max_position_embeddings / 16); },
                        {},
                        "max_position_embeddings"}},
    {"initial-not-a-number",
     [](DepartedModel& d) {
       change_initial_embedding(d, [](const Tensor& embedding) {
         embedding[embedding.size(0) - 1].fill_(std::numeric_limits<double>::quiet_NaN());
       });
     }},
    {"initial-one-output-scaled", [](DepartedModel& d) { scale_initial_values(d, {".o_proj.weight"}); }},
    {"initial-scaled-elsewhere",
     [](DepartedModel& d) {
       scale_initial_values(d, {".v_proj.weight", ".up_proj.weight"});
     }},
};

// Chapter 2: Parameters.
const std::vector<Departure> kParameterDepartures = {
    {"untied-head", [](Specification& s) { s.tie_word_embeddings = false; }},
    {"feed-forward-bias", [](Specification& s) { s.mlp_bias = true; }},
    {"attention-bias", [](Specification& s) { s.attention_bias = true; }},
    {"head-bias", [](Specification& s) { s.head_bias = true; }},
    {"query-key-norm", [](Specification& s) { s.query_key_norm = true; }},
    {"layers-shared",
     [](DepartedModel& d) {
       read_other_parameter(d, [](const std::string& name) {
         const std::string layers = "model.layers.";
         return name.starts_with(layers) ? layers + "0" + name.substr(name.find('.', layers.size())) : name;
       });
     },
     idle_with_one_layer},
    {"layers-reversed",
     [](DepartedModel& d) {
       read_other_parameter(d, [last = d.specification.num_hidden_layers - 1](const std::string& name) {
         const std::string layers = "model.layers.";
         if (!name.starts_with(layers)) return name;
         const auto rest = name.find('.', layers.size());
         return layers + std::to_string(last - std::stoll(name.substr(layers.size()))) + name.substr(rest);
       });
     },
     idle_with_one_layer},
    {"output-projection-transposed",
     [](DepartedModel& d) {
       transform_parameters(d, "o_proj.weight", [](const Tensor& matrix) { return matrix.t(); });
     }},
    {"norm-without-weight", [](Specification& s) { s.norm_weights = false; }},
    {"values-from-keys",
     [](DepartedModel& d) {
       read_other_parameter(d, [](const std::string& name) {
         const auto at = name.find(".v_proj.");
         return at == std::string::npos ? name : std::string(name).replace(at, 8, ".k_proj.");
       });
     }},
};

// Chapter 3: Grouped-query attention.
const std::vector<Departure> kAttentionDepartures = {
    {"multi-head", [](Specification& s, double heads) { s.num_key_value_heads = round_to_count(heads); },
     nullptr,
     DepartureParameter{"it has {} key/value heads",
                        [](const Specification& s) { return to_double(s.num_attention_heads); },
                        {},
                        "num_key_value_heads"}},
    {"repeat-tiled",
     [](DepartedModel& d) { d.formulas.repeat_kv = d.formulas.repeat_cached_kv = repeat_tiled; },
     idle_with_one_repeated_head},
    {"repeat-one-gradient",
     [](DepartedModel& d) {
       change_repetition(d, [](const auto& repeat, const Tensor& x, std::int64_t factor) {
         const auto copies = repeat(x.detach(), factor);
         return factor == 1
                    ? x
                    : copies + at::constant_pad_nd((x - x.detach()).unsqueeze(3), {0, 0, 0, factor - 1})
                                   .flatten(2, 3);
       });
     },
     idle_without_repetition},
    {"scale-missing",
     [](DepartedModel& d) { d.formulas.attention_scale = [](const Specification&) { return 1.0; }; }},
    {"scale-by-width",
     [](DepartedModel& d) {
       d.formulas.attention_scale = [](const Specification& s) {
         return 1.0 / std::sqrt(static_cast<double>(s.hidden_size));
       };
     },
     idle_with_one_head},
    {"softmax-over-queries",
     [](DepartedModel& d) {
       compose(d.formulas.softmax, [](const auto& softmax, const Tensor& scores) {
         return softmax(scores.transpose(-2, -1)).transpose(-2, -1).nan_to_num(0);
       });
     }},
    {"softmax-bfloat16",
     [](DepartedModel& d) {
       compose(d.formulas.softmax, [](const auto& softmax, const Tensor& scores) {
         return softmax(scores.to(at::kBFloat16)).to(scores.scalar_type());
       });
     }},
    {"repeat-factor-fixed",
     [](DepartedModel& d) {
       compose(d.formulas.repeat_kv,
               [heads = d.specification.repeat_factor()](const auto& repeat, const Tensor& x, std::int64_t) {
                 return repeat(x, heads);
               });
     }},
    {"scale-twice",
     [](DepartedModel& d) {
       compose(d.formulas.attention_scale, [](const auto& once, const Specification& s) {
         return once(s) / std::sqrt(static_cast<double>(s.head_size()));
       });
     }},
    {"key-value-swapped",
     [](DepartedModel& d) {
       read_other_parameter(
           d, [](const std::string& name) { return swap_name_parts(name, ".k_proj.", ".v_proj."); });
     }},
    {"query-heads-reordered",
     [](DepartedModel& d) {
       const auto heads = d.specification.num_key_value_heads, factor = d.specification.repeat_factor();
       for (const auto* name : {"q_proj.weight", "q_proj.bias"})
         transform_parameters(d, name, [heads, factor](const Tensor& rows) {
           return rows.unflatten(0, at::IntArrayRef{heads, factor, -1}).transpose(0, 1).reshape(rows.sizes());
         });
     },
     idle_with_one_repeated_head},
    {"repeat-tiled-in-cache", [](DepartedModel& d) { d.formulas.repeat_cached_kv = repeat_tiled; },
     idle_with_one_repeated_head},
    {"heads-joined-without-transpose",
     [](DepartedModel& d) {
       d.formulas.join_heads = [](const Tensor& heads) {
         return heads.reshape({heads.size(0), heads.size(2), -1});
       };
     },
     idle_with_one_head},
    {"heads-joined-interleaved",
     [](DepartedModel& d) {
       d.formulas.join_heads = [](const Tensor& heads) { return heads.permute({0, 2, 3, 1}).flatten(2); };
     },
     idle_with_one_head},
    {"softmax-off-by-one",
     [](DepartedModel& d) {
       compose(d.formulas.softmax, [](const auto& softmax, const Tensor& scores) {
         return softmax(at::constant_pad_nd(scores, {0, 1})).narrow(-1, 0, scores.size(-1));
       });
     }},
    {"softmax-without-maximum",
     [](DepartedModel& d) {
       d.formulas.softmax = [](const Tensor& scores) {
         const auto weights = scores.to(accumulation_type(scores.scalar_type())).exp();
         return (weights / weights.sum(-1, true)).to(scores.scalar_type());
       };
     }},
    {"softmax-base-2",
     [](DepartedModel& d) {
       compose(d.formulas.softmax, [](const auto& softmax, const Tensor& scores) {
         return softmax(scores * std::log(2.0));  // 2^x = e^(x ln 2)
       });
     }},
};

}  // namespace

const std::vector<Departure>& configuration_departures() {
  return kConfigurationDepartures;
}

const std::vector<Departure>& parameter_departures() {
  return kParameterDepartures;
}

const std::vector<Departure>& attention_departures() {
  return kAttentionDepartures;
}

}  // namespace plumbline::departures
