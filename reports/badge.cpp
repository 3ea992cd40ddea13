#include <fmt/format.h>

#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"

namespace plumbline::reports {
namespace {

std::string xml(std::string_view text) {
  std::string safe;
  for (const char character : text) {
    if (character == '&')
      safe += "&amp;";
    else if (character == '<')
      safe += "&lt;";
    else if (character == '>')
      safe += "&gt;";
    else if (character == '"')
      safe += "&quot;";
    else
      safe += character;
  }
  return safe;
}

std::string word_of(const Result& result) {
  const bool pair = result.header.baseline.has_value();
  switch (result.footer.status) {
    case 0:
      if (result.footer.waived > 0) return fmt::format("conforms, {} waived", result.footer.waived);
      return pair ? "same" : "conforms";
    case 1:
      return pair ? "differs" : "does not conform";
    case 3:
      return "incomplete";
    default:
      return "error";
  }
}

}  // namespace

std::string to_badge(const Result& result) {
  const std::string name = visible(result.header.specification, 40), word = word_of(result);
  const char* colour = result.footer.status == 0   ? "#2e7d32"
                       : result.footer.status == 1 ? "#b3261e"
                       : result.footer.status == 3 ? "#8a5a00"
                                                   : "#5f6368";
  // White on any of them has a contrast of 5 or more. textLength keeps the words in place in any font.
  const int left = 7 * columns(name) + 12, right = 7 * columns(word) + 12;
  const auto label = [](int from, int width, const std::string& text) {
    return fmt::format(
        "  <text x=\"{}\" y=\"14\" text-anchor=\"middle\" textLength=\"{}\" "
        "lengthAdjust=\"spacingAndGlyphs\">{}</text>\n",
        from + width / 2, width - 12, xml(text));
  };
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"20\" viewBox=\"0 0 {0} 20\" "
      "role=\"img\" "
      "aria-labelledby=\"title\">\n"
      "  <title id=\"title\">{1}: {2}</title>\n"
      "  <clipPath id=\"round\"><rect width=\"{0}\" height=\"20\" rx=\"3\"/></clipPath>\n"
      "  <g clip-path=\"url(#round)\">\n"
      "    <rect width=\"{3}\" height=\"20\" fill=\"#444\"/>\n"
      "    <rect x=\"{3}\" width=\"{4}\" height=\"20\" fill=\"{5}\"/>\n"
      "  </g>\n"
      "  <g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\n{6}{7}  </g>\n"
      "</svg>\n",
      left + right, xml(name), xml(word), left, right, colour, label(0, left, name),
      label(left, right, word));
}

}  // namespace plumbline::reports
