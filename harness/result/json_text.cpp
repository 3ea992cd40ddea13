#include "harness/result/json_text.hpp"

#include <cmath>

#include "harness/result/result.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {

std::string text(std::string_view value) {
  constexpr std::size_t note = 40;
  return cut(value, characters(value) > longest_text + note ? longest_text : longest_text + note);
}

Json json_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

Json json_number(const std::optional<double>& value) {
  return value ? json_number(*value) : Json(nullptr);
}

std::string dump(const Json& document) {
  const std::string whole =
      document.dump({.indent = 2, .replace = true, .members = Json::Order::as_written}) + "\n";
  std::string_view json = whole;
  std::string safe;
  safe.reserve(json.size());
  while (!json.empty()) {
    const CodePoint next = decode(json);
    if (next.value < 0x7F || !is_hidden(next.value)) {
      safe += json.substr(0, next.bytes);
    } else {
      safe += Json(encode(next.value)).dump({.ascii = true}).substr(1);
      safe.pop_back();
    }
    json.remove_prefix(next.bytes);
  }
  return safe;
}

}  // namespace plumbline::reports
