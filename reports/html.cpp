#include "reports/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "harness/result/words.hpp"
#include "harness/system/files.hpp"
#include "harness/system/markup.hpp"

namespace plumbline::reports::html {
namespace {

std::string base64(const std::string& bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string coded;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t at) {
      return at < bytes.size() ? static_cast<unsigned>(static_cast<unsigned char>(bytes[at])) : 0U;
    };
    const unsigned three = (byte(i) << 16U) | (byte(i + 1) << 8U) | byte(i + 2);
    for (std::size_t digit = 0; digit < 4; ++digit)
      coded += i + digit <= bytes.size() ? digits[(three >> (18U - 6U * digit)) & 63U] : '=';
  }
  return coded;
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

}  // namespace

std::string text(std::string_view untrusted, std::size_t limit) {
  return escaped(visible(untrusted, limit));
}

std::string bdi(std::string_view untrusted, std::size_t limit, const char* language) {
  const std::string attribute = language == nullptr ? "" : fmt::format(" lang=\"{}\"", language);
  return fmt::format("<bdi{}>{}</bdi>", attribute, text(untrusted, limit));
}

std::string with_code(std::string_view untrusted, std::size_t limit) {
  const std::string safe = bdi(untrusted, limit);
  if (std::count(safe.begin(), safe.end(), '`') % 2 != 0) return safe;
  std::string shown;
  bool inside = false;
  for (const char character : safe)
    if (character == '`')
      shown += std::exchange(inside, !inside) ? "</code>" : "<code>";
    else
      shown += character;
  return shown;
}

std::string csp_hash(std::string_view content) {
  return fmt::format("'sha256-{}'", base64(bytes_of(sha256(content))));
}

std::string digits(std::int64_t count) {
  const std::string number = counted(count, "");
  return number.substr(0, number.find(' '));
}

std::string amount(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  if (value == 0) return "0";
  const double size = std::abs(value);
  const bool whole = value == std::floor(value) && size < 1e15;
  if (size >= 1e4 && (whole || size < 1e7)) return digits(std::llround(value));
  if (size < 1e-3 || size >= 1e4) return fmt::format("{:.1e}", value);
  if (whole || size >= 1000) return fmt::format("{:.0f}", value);
  return fmt::format("{:.3g}", value);
}

}  // namespace plumbline::reports::html
