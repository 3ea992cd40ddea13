#include "harness/candidate/checkpoint_names.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <string_view>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using Tensors = std::vector<NamedTensor>;
using Segments = std::vector<std::string>;  // of a name, between its dots

// What a wrapper puts into the path of what it wraps: data parallelism, torch.compile, FSDP, activation
// checkpointing, strategies of Lightning, PEFT.
const std::set<std::string> kWrappers{"module",          "_orig_mod",
                                      "_fpw_module",     "_fsdp_wrapped_module",
                                      "_forward_module", "_checkpoint_wrapped_module",
                                      "_dp_module",      "base_layer",
                                      "original_module"};

// What an adapter adds to its base.
bool is_of_adapter(const std::string& segment) {
  return segment == "lora" || segment.starts_with("lora_") || segment == "modules_to_save";
}

// How a project calls the parts of the same model. A part's name may go on after a dot.
struct Spelling {
  const char* whose;
  std::vector<const char*> anchors;  // any of these names tells it; sought in this order of spellings
  std::vector<std::pair<const char*, const char*>> in_layers;  // after layers.N.
  std::vector<std::pair<const char*, const char*>> outside;
};

const std::vector<Spelling>& spellings() {
  static const std::vector<Spelling> all = {
      {"", {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"}, {}, {}},
      {"torchtune's",
       {"layers.0.attn.q_proj.weight", "layers.0.sa_norm.scale"},
       {{"attn.output_proj", "self_attn.o_proj"},
        {"attn", "self_attn"},
        {"mlp.w1", "mlp.gate_proj"},
        {"mlp.w2", "mlp.down_proj"},
        {"mlp.w3", "mlp.up_proj"},
        {"sa_norm.scale", "input_layernorm.weight"},
        {"mlp_norm.scale", "post_attention_layernorm.weight"}},
       {{"tok_embeddings", "model.embed_tokens"},
        {"norm.scale", "model.norm.weight"},
        {"output", "lm_head"}}},
      {"Meta's",
       {"tok_embeddings.weight", "layers.0.attention.wq.weight"},
       {{"attention.wq", "self_attn.q_proj"},
        {"attention.wk", "self_attn.k_proj"},
        {"attention.wv", "self_attn.v_proj"},
        {"attention.wo", "self_attn.o_proj"},
        {"feed_forward.w1", "mlp.gate_proj"},
        {"feed_forward.w2", "mlp.down_proj"},
        {"feed_forward.w3", "mlp.up_proj"},
        {"attention_norm", "input_layernorm"},
        {"ffn_norm", "post_attention_layernorm"}},
       {{"tok_embeddings", "model.embed_tokens"}, {"norm", "model.norm"}, {"output", "lm_head"}}},
      {"of a body without \"model.\" before it",
       {"embed_tokens.weight", "layers.0.self_attn.q_proj.weight"},
       {},
       {{"embed_tokens", "model.embed_tokens"}, {"layers", "model.layers"}, {"norm", "model.norm"}}},
  };
  return all;
}

// Endings of names that only quantised models have.
constexpr std::array<std::pair<const char*, const char*>, 11> kSignsOfQuantisation{
    {{".SCB", "bitsandbytes, 8 bits"},
     {".absmax", "bitsandbytes, 4 bits"},
     {".quant_map", "bitsandbytes, 4 bits"},
     {".g_idx", "GPTQ"},
     {".qweight", "AWQ or GPTQ"},
     {".qzeros", "AWQ or GPTQ"},
     {".weight_packed", "compressed-tensors"},
     {".weight_scale_inv", "fp8"},
     {".weight_scale", "fp8, or 8-bit integers"},
     {".input_scale", "fp8, or 8-bit integers"},
     {"_packed_params", "torch.ao"}}};

// Last parts of names, without an underscore before them.
const std::set<std::string> kRotaryTables{
    "inv_freq",   "original_inv_freq", "freqs", "freqs_cis", "pos_cis",    "freqs_cos",    "freqs_sin",
    "cos_cached", "sin_cached",        "cos",   "sin",       "rope_cache", "position_ids", "cos_sin_cache"};
// Parts that hold nothing that is learned.
const std::set<std::string> kRotaryParts{"rotary_emb", "rotary", "rope", "rotary_embedding", "pos_encoding"};
const std::set<std::string> kMasks{"mask", "causal_mask", "attn_mask", "attention_mask",
                                   "tril", "triu",        "bias",      "masked_bias"};

Segments segments_of(const std::string& name) {
  Segments segments{""};
  for (const char c : name)
    if (c == '.')
      segments.emplace_back();
    else
      segments.back() += c;
  return segments;
}

std::string in_quotes(const std::string& name) {
  return fmt::format("\"{}\"", printable(name, 120));
}

// Renames every tensor by `change` and returns how many names changed.
std::size_t rename(Tensors& tensors, const std::string& file,
                   const std::function<std::string(const std::string&)>& change) {
  std::map<std::string, std::string> originals;
  std::size_t changed = 0;
  for (auto& tensor : tensors) {
    const auto name = change(tensor.name);
    const auto [other, is_new] = originals.emplace(name, tensor.name);
    if (!is_new)
      throw InputError(
          fmt::format("{}: {} and {} have the same name without the wrappers' prefixes; save one of them",
                      file, in_quotes(other->second), in_quotes(tensor.name)));
    if (name != tensor.name) ++changed;
    tensor.name = name;
  }
  return changed;
}

void take_off_wrappers(Tensors& tensors, std::vector<std::string>& notes, const std::string& file) {
  std::set<std::string> found;
  const auto changed = rename(tensors, file, [&](const std::string& name) {
    auto segments = segments_of(name);
    const auto last = segments.back();
    if (last.empty()) return name;  // a wrapper alone
    segments.pop_back();
    std::erase_if(segments, [&](const std::string& segment) {
      if (!kWrappers.contains(segment)) return false;
      found.insert(fmt::format("\"{}.\"", segment));
      return true;
    });
    segments.push_back(last);
    return fmt::format("{}", fmt::join(segments, "."));
  });
  if (changed > 0)
    notes.push_back(fmt::format("the wrapper's {} was removed from {} of {} names", fmt::join(found, " and "),
                                changed, tensors.size()));
}

// What stands before the anchors of this spelling: the paths of models within the file.
std::set<std::string> places_of(const Spelling& spelling, const Tensors& tensors) {
  std::set<std::string> places;
  for (const auto& [name, values] : tensors)
    for (const std::string anchor : spelling.anchors) {
      if (!name.ends_with(anchor)) continue;
      const auto before = name.substr(0, name.size() - anchor.size());
      if (before.empty() || before.ends_with('.')) places.insert(before);
    }
  return places;
}

// As the specification spells it; unchanged where this spelling does not have it.
std::string respelled(const Spelling& spelling, const std::string& name) {
  std::string layer, rest = name;
  if (const auto end = name.find('.', 7); name.starts_with("layers.") && end != std::string::npos) {
    layer = "model." + name.substr(0, end + 1);
    rest = name.substr(end + 1);
  }
  const bool in_layer = !layer.empty() && !spelling.in_layers.empty();
  for (const auto& [theirs, ours] : in_layer ? spelling.in_layers : spelling.outside) {
    const std::string& whole = in_layer ? rest : name;
    if (whole != theirs && !whole.starts_with(std::string(theirs) + ".")) continue;
    return (in_layer ? layer : "") + ours + whole.substr(std::string_view(theirs).size());
  }
  return in_layer ? layer + rest : name;
}

void respell(Tensors& tensors, std::vector<std::string>& notes, const std::string& file) {
  for (const auto& spelling : spellings()) {
    const auto places = places_of(spelling, tensors);
    if (places.empty()) continue;
    const bool here = places.contains("");
    if (!here && places.size() > 1)
      throw InputError(fmt::format("{}: holds several models, under {}; save only one of them", file,
                                   listed({places.begin(), places.end()})));
    const std::string place = here ? "" : *places.begin();
    const auto inner = rename(tensors, file, [&](const std::string& name) {
      return name.size() > place.size() && name.starts_with(place) ? name.substr(place.size()) : name;
    });
    if (inner > 0)
      notes.push_back(fmt::format("the prefix {} was removed from {} of {} names", in_quotes(place), inner,
                                  tensors.size()));
    const auto changed =
        rename(tensors, file, [&](const std::string& name) { return respelled(spelling, name); });
    if (changed > 0)
      notes.push_back(fmt::format("{} of {} names are {} and were translated to Hugging Face's", changed,
                                  tensors.size(), spelling.whose));
    return;
  }
}

// Of two values, or one: what a mask is made of, and nothing that was learned.
bool has_two_values(const at::Tensor& values) {
  if (values.numel() == 0) return true;
  const auto plain = values.to(at::kDouble);
  return ((plain == plain.min()) | (plain == plain.max())).all().item<bool>();
}

// Whether it is computed by code, and kept with the weights all the same.
bool is_table(const NamedTensor& tensor) {
  const auto segments = segments_of(tensor.name);
  const auto last = segments.back().substr(segments.back().starts_with('_') ? 1 : 0);
  const auto& values = tensor.values;
  if (values.scalar_type() == at::kBool || kRotaryTables.contains(last)) return true;
  const auto is_rotary = [](const std::string& segment) { return kRotaryParts.contains(segment); };
  if (std::any_of(segments.begin(), segments.end(), is_rotary)) return true;
  if (!kMasks.contains(last) || values.is_complex()) return false;
  if (values.numel() == 1) return last == "masked_bias";
  return values.dim() >= 2 && values.size(-1) == values.size(-2) && has_two_values(values);
}

Segments take_out(Tensors& tensors, const std::function<bool(const NamedTensor&)>& is_one) {
  Segments names;
  std::erase_if(tensors, [&](const NamedTensor& tensor) {
    if (!is_one(tensor)) return false;
    names.push_back(tensor.name);
    return true;
  });
  return names;
}

void leave_out_adapters(Tensors& tensors, std::vector<std::string>& notes, const std::string& file) {
  const auto names = take_out(tensors, [](const NamedTensor& tensor) {
    const auto segments = segments_of(tensor.name);
    return std::any_of(segments.begin(), segments.end(), is_of_adapter);
  });
  if (names.empty()) return;
  const auto matrices = std::count_if(tensors.begin(), tensors.end(),
                                      [](const auto& tensor) { return tensor.values.dim() > 1; });
  if (matrices == 0)
    throw InputError(fmt::format("{}: holds only a LoRA adapter ({}), not the model that it adapts; {}", file,
                                 listed(names), kMergeAdapter));
  notes.push_back(fmt::format(
      "{} tensors of a LoRA adapter were left out, only its base was judged; to judge both, {}: {}",
      names.size(), kMergeAdapter, listed(names)));
}

void refuse_other_kinds(const Tensors& tensors, const std::string& file) {
  for (const auto& [ending, what] : kSignsOfQuantisation)
    for (const auto& [name, values] : tensors)
      if (name.ends_with(ending))
        throw InputError(fmt::format("{}: the model is quantised ({}: there is {}); {}", file, what,
                                     in_quotes(name), kDequantise));
  for (const auto& [name, values] : tensors) {
    const bool bytes = values.scalar_type() == at::kChar || values.scalar_type() == at::kByte;
    if (bytes && values.dim() == 2 && name.ends_with(".weight"))
      throw InputError(fmt::format("{}: the model is quantised (8-bit integers: {}); {}", file,
                                   in_quotes(name), kDequantise));
    const auto segments = segments_of(name);
    for (const auto* segment : {"experts", "block_sparse_moe"})
      if (std::find(segments.begin(), segments.end(), segment) != segments.end())
        throw InputError(
            fmt::format("{}: is a mixture of experts (there is {}), which is another architecture; "
                        "pass a dense model",
                        file, in_quotes(name)));
  }
}

}  // namespace

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t most = 8;
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() < most) shown.push_back(printable(name, 80));
  }
  const std::string rest = names.size() > most ? fmt::format(" and {} more", names.size() - most) : "";
  return fmt::format("{}{}", fmt::join(shown, ", "), rest);
}

void make_names_canonical(Tensors& tensors, std::vector<std::string>& notes, const std::string& file) {
  refuse_other_kinds(tensors, file);
  leave_out_adapters(tensors, notes, file);
  take_off_wrappers(tensors, notes, file);
  respell(tensors, notes, file);
  const auto by_name = [](const NamedTensor& left, const NamedTensor& right) {
    return left.name < right.name;
  };
  std::sort(tensors.begin(), tensors.end(), by_name);
  if (const auto names = take_out(tensors, is_table); !names.empty())
    notes.push_back(fmt::format("tables and masks that code computes were not judged: {}", listed(names)));
}

}  // namespace plumbline
