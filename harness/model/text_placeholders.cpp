#include "harness/model/text_placeholders.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/model/departures/departures.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

// 1,000,000
std::string group_digits(std::int64_t count) {
  const auto digits = fmt::format("{}", count);
  std::string text;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at > 0 && (digits.size() - at) % 3 == 0) text += ',';
    text += digits[at];
  }
  return text;
}

// 25.8M; 128,256
std::string format_parameter_count(std::int64_t count) {
  return count < 1'000'000 ? group_digits(count) : fmt::format("{:.1f}M", static_cast<double>(count) / 1e6);
}

// 22.6; 1e-5
std::string format_three_digits(double number) {
  auto text = fmt::format("{:.3g}", number);
  if (const auto at = text.find("e-0"); at != std::string::npos) text.erase(at + 2, 1);
  return text;
}

std::string format_theta(double number) {
  return number < 1e15 && number == std::floor(number) ? group_digits(std::llround(number))
                                                       : format_three_digits(number);
}

std::string format_root(std::int64_t count) {
  return format_three_digits(std::sqrt(static_cast<double>(count)));
}

Placeholders placeholders_of(const Specification& s) {
  auto one_layer = s;
  one_layer.num_hidden_layers = 1;
  const auto size = [](std::int64_t count) { return fmt::format("{}", count); };
  return {
      {"vocab_size", size(s.vocab_size)},
      {"ln_vocab_size", format_three_digits(std::log(static_cast<double>(s.vocab_size)))},
      {"hidden_size", size(s.hidden_size)},
      {"root_hidden_size", format_root(s.hidden_size)},
      {"num_hidden_layers", size(s.num_hidden_layers)},
      {"branches", size(2 * s.num_hidden_layers)},
      {"norms", size(2 * s.num_hidden_layers + 1)},
      {"num_attention_heads", size(s.num_attention_heads)},
      {"root_num_attention_heads", format_root(s.num_attention_heads)},
      {"num_key_value_heads", size(s.num_key_value_heads)},
      {"key_value_size", size(s.key_value_size())},
      {"repeat_factor", size(s.repeat_factor())},
      {"head_size", size(s.head_size())},
      {"root_head_size", format_root(s.head_size())},
      {"pairs_of_a_head", size(s.head_size() / 2)},
      {"intermediate_size", size(s.intermediate_size)},
      {"rope_theta", format_theta(s.rope_theta)},
      {"rms_norm_eps", format_three_digits(s.rms_norm_eps)},
      {"root_rms_norm_eps", format_three_digits(std::sqrt(s.rms_norm_eps))},
      {"dropout", format_three_digits(s.dropout)},
      {"parameters", format_parameter_count(s.parameter_count())},
      {"parameter_count", group_digits(s.parameter_count())},
      {"parameters_of_one_layer", format_parameter_count(one_layer.parameter_count())},
  };
}

}  // namespace

Placeholders placeholders_for(const Specification& specification, const std::string& departure) {
  const auto departed = apply_departures(specification, departure).specification;
  auto all = placeholders_of(specification);
  for (const auto& [name, value] : placeholders_of(departed)) all["wrong." + name] = value;
  all["more_parameters"] =
      format_parameter_count(departed.parameter_count() - specification.parameter_count());
  all["times_layers"] = fmt::format("{:.2g}", static_cast<double>(departed.num_hidden_layers) /
                                                  static_cast<double>(specification.num_hidden_layers));
  return all;
}

std::string fill_placeholders(const std::string& text, const Placeholders& placeholders) {
  std::string filled;
  std::size_t from = 0;
  for (std::size_t at = 0; (at = text.find_first_of("{}", from)) != std::string::npos;) {
    const auto end = std::min(text.find('}', at), text.size() - 1);
    const auto named = text.substr(at, end - at + 1);
    const auto placeholder = std::find_if(placeholders.begin(), placeholders.end(), [&](const auto& entry) {
      return "{" + entry.first + "}" == named;
    });
    if (placeholder == placeholders.end())
      throw InputError(fmt::format("'{}' stands for no figure of a specification", printable(named, 60)));
    filled += text.substr(from, at - from) + placeholder->second;
    from = end + 1;
  }
  return filled + text.substr(from);
}

Defect fill_in_advice(Defect defect, const Specification& specification) {
  const auto placeholders = placeholders_for(specification, defect.name);
  for (auto* text : {&defect.advice, &defect.advice_in_chinese})
    *text = fill_placeholders(*text, placeholders);
  return defect;
}

}  // namespace plumbline
