#include "reports/page_parts.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>

#include "reports/svg.hpp"

namespace plumbline::reports {
namespace {

bool is_plain(const std::string& id) {
  return !id.empty() && id.size() <= 40 &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") ==
             std::string::npos;
}

}  // namespace

Page::Page(const Result& page_result, Language page_language, const Translation* page_translation,
           std::string id_prefix, int first_level)
    : result(page_result),
      language(page_language),
      translation(page_translation),
      prefix(std::move(id_prefix)),
      level(first_level) {
  std::set<std::string> taken;
  for (std::size_t i = 0; i < page_result.requirements.size(); ++i) {
    const std::string& id = page_result.requirements[i].id;
    const bool uses_id = is_plain(id) && taken.insert(id).second;
    anchors.push_back(uses_id ? prefix + id : fmt::format("{}requirement-{}", prefix, i + 1));
  }
}

std::string Page::quoted(std::string_view text, std::size_t limit) const {
  return html::bdi(text, limit, language == Language::english ? nullptr : "en");
}

std::string Page::translated(const std::string& text, std::size_t limit) const {
  const std::string* known = translation == nullptr ? nullptr : translation->find(text);
  return known == nullptr ? quoted(text, limit) : html::bdi(*known, limit);
}

std::string Page::translated_situation(const std::string& name, std::size_t limit) const {
  static const std::regex tokens("([0-9]+) tokens?");
  if (translation == nullptr || translation->find(name) != nullptr) return translated(name, limit);
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= name.size();) {
    const auto end = std::min(name.find(", ", begin), name.size());
    const auto part = name.substr(begin, end - begin);
    std::smatch count;
    const auto* known = translation->find(part);
    if (known == nullptr && !std::regex_match(part, count, tokens)) return quoted(name, limit);
    parts.push_back(known == nullptr ? fmt::format("{} 个词元", count[1].str()) : *known);
    begin = end + 2;
  }
  return html::bdi(fmt::format("{}", fmt::join(parts, "，")), limit);
}

std::string Page::in_its_words(const std::string& text) const {
  const std::string* known = translation == nullptr ? nullptr : translation->find(text);
  return known == nullptr ? text : *known;
}

std::string Page::title(const Chapter& chapter) const {
  const std::string number = (*this)(Word::chapter) + fmt::format(" {}", chapter.number);
  return chapter.title.empty() ? number
                               : fmt::format("{} {}", chapter.number, translated(chapter.title, 100));
}

std::string Page::heading(int below, const std::string& id, const std::string& content) const {
  const std::string attribute = id.empty() ? "" : fmt::format(" id=\"{}{}\"", prefix, id);
  return fmt::format("<h{0}{1}>{2}</h{0}>\n", std::min(level + below, 6), attribute, content);
}

std::string Page::anchor(const Requirement& requirement) const {
  return anchors[static_cast<std::size_t>(&requirement - result.requirements.data())];
}

std::string Page::joined(const std::vector<std::string>& parts) const {
  std::string list;
  for (const std::string& part : parts)
    list += (list.empty() ? "" : language == Language::chinese ? "、" : ", ") + part;
  return list;
}

std::optional<double> share_of(const Check& check) {
  if (!check.worst_difference || !check.tolerance || !(*check.tolerance > 0)) return {};
  return *check.worst_difference / *check.tolerance;
}

std::optional<double> share_of(const Requirement& requirement) {
  std::optional<double> most;
  for (const Check& check : requirement.checks)
    if (const auto share = share_of(check); share && (!most || svg::worse(*share, *most))) most = share;
  return most;
}

std::string share_in_words(const Page& page, double share) {
  if (share == 0) return page(Word::no_error);
  if (share >= 1000 && share < 1e9) return page(Word::times_tolerance, html::digits(std::llround(share)));
  if (!(share <= 1)) return page(Word::times_tolerance, html::amount(share));
  return page(Word::of_tolerance, share < 1e-5 ? html::amount(share) : fmt::format("{:.2g} %", share * 100));
}

namespace {

std::string values_in_words(const Page& page, const Check& check) {
  const std::string index =
      check.worst_index.empty() ? "" : fmt::format("[{}]", fmt::join(check.worst_index, ","));
  return page(check.of_two ? Word::now_before : Word::got_expected, page.quoted(check.what + index, 200),
              page.quoted(check.actual, 200), page.quoted(check.expected, 200));
}

// As sentence_of() says it in English, without the reason of the tolerance and the note.
std::string form_in_words(const Page& page, const Check& check) {
  const auto what = page.quoted(check.what, 200);
  const auto elements = html::digits(check.elements), beyond = html::digits(check.beyond);
  switch (check.form) {
    case Form::values:
      return values_in_words(page, check);
    case Form::difference:
      return values_in_words(page, check) +
             (check.beyond == 0 ? "" : "；" + page(Word::beyond, beyond, elements));
    case Form::whole:
      return page(Word::off_on_the_whole, what, html::amount(check.worst_difference.value_or(0)), elements,
                  html::amount(check.tolerance.value_or(0)));
    case Form::change:
      return page(Word::largest_change, what, page.quoted(check.actual, 200),
                  page.quoted(check.expected, 200));
    case Form::finite:
      return check.within ? page(Word::all_finite, what, elements)
                          : values_in_words(page, check) + "；" + page(Word::not_finite, beyond, elements);
    case Form::unbounded:
      return page(Word::not_bounded, what);
    case Form::same_bits:
      return page(Word::same_bits, what);
    case Form::measured:
      return page(Word::is_said, what, page.quoted(check.actual, 200));
    case Form::nothing:
      return page(Word::is_said, what, page.quoted(check.note, 200));
    case Form::recorded:
      return page.quoted(check.note, 200);
  }
  return what;
}

}  // namespace

std::string finding_of(const Page& page, const Check& check) {
  if (page.language == Language::english) return page.quoted(sentence_of(check), 600);
  std::string sentence = form_in_words(page, check);
  const bool differs = check.form == Form::values || check.form == Form::difference;
  if (differs && check.worst_difference && check.tolerance)
    sentence += fmt::format(
        "（{}{}{}）",
        page(Word::off_and_allowed, html::amount(*check.worst_difference), html::amount(*check.tolerance)),
        check.tolerance_reason.empty() ? "" : "：", page.quoted(check.tolerance_reason, 200));
  if (!check.note.empty() && check.form != Form::nothing && check.form != Form::recorded)
    sentence += fmt::format("（{}）", page.quoted(check.note, 200));
  return sentence;
}

std::string badge(const Page& page, Verdict verdict) {
  return fmt::format("<span class=\"badge {}\"><span class=\"mark\" aria-hidden=\"true\">{}</span> {}</span>",
                     style_of(verdict), mark_of(verdict), page(word_of(verdict)));
}

}  // namespace plumbline::reports
