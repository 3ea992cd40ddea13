// The requirements: a grid of marks by chapter, then each with its evidence.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reports/page_parts.hpp"
#include "reports/rerun.hpp"
#include "reports/svg.hpp"

namespace plumbline::reports {
namespace {

using html::amount;
using html::bdi;

constexpr std::size_t most_failed = 400;   // checks that did not hold, of one requirement
constexpr std::size_t most_passed = 8;     // checks that held: the nearest to their tolerance
constexpr std::size_t most_sentences = 3;  // findings told in words above the table
constexpr int most_opened = 3;             // failures that stand open from the start

// "2" of "GQA-2": the chapter says the rest.
std::string short_id(const std::string& id) {
  const std::size_t dash = id.rfind('-');
  return dash == std::string::npos || dash + 1 == id.size() ? id : id.substr(dash + 1);
}

struct Shown {
  std::vector<const Check*> checks;
  std::size_t failed = 0, passed = 0;  // left out
};

Shown shown(const Requirement& requirement) {
  Shown found;
  std::vector<const Check*> held;
  for (const Check& check : requirement.checks) {
    if (check.within) {
      held.push_back(&check);
    } else if (found.checks.size() < most_failed) {
      found.checks.push_back(&check);
    } else {
      ++found.failed;
    }
  }
  std::stable_sort(held.begin(), held.end(), [](const Check* a, const Check* b) {
    return svg::worse(share_of(*a).value_or(-1), share_of(*b).value_or(-1));
  });
  found.passed = held.size() - std::min(held.size(), most_passed);
  found.checks.insert(found.checks.end(), held.begin(),
                      held.end() - static_cast<std::ptrdiff_t>(found.passed));
  return found;
}

// Whether the sentence says more than the cells beside it.
bool says_more(const Check& check) {
  return !check.note.empty() || (check.form != Form::values && check.form != Form::difference);
}

std::string number(const std::optional<double>& value) {
  return value ? amount(*value) : "–";
}

std::string row(const Page& page, const Check& check, bool sentences) {
  std::string index;
  for (const std::int64_t at : check.worst_index) index += fmt::format("{}{}", index.empty() ? "" : ",", at);
  std::string cells = fmt::format(
      "<tr><td>{}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"n\">{}</td><td "
      "class=\"n\">{}</td><td>{}</td>"
      "<td class=\"n\">{}</td><td class=\"n\">{}</td>",
      badge(page, check.within ? Verdict::pass : Verdict::fail), page.quoted(check.what, 120),
      page.quoted(check.expected, 120), page.quoted(check.actual, 120), number(check.worst_difference),
      number(check.tolerance), check.tolerance_reason.empty() ? "" : page.quoted(check.tolerance_reason),
      html::digits(check.elements), index.empty() ? "–" : fmt::format("[{}]", index));
  if (sentences) cells += fmt::format("<td>{}</td>", says_more(check) ? finding_of(page, check) : "");
  return cells + "</tr>\n";
}

std::string checks(const Page& page, const Requirement& requirement) {
  if (requirement.checks.empty())
    return fmt::format("<p class=\"dim\">{}</p>\n", page(Word::nothing_compared));
  const Shown some = shown(requirement);
  const bool sentences =
      std::any_of(some.checks.begin(), some.checks.end(), [](const Check* one) { return says_more(*one); });
  std::string head;
  for (const Word word : {Word::verdict, Word::check, Word::expected, Word::seen, Word::off_by, Word::allowed,
                          Word::allowed_because, Word::elements, Word::worst_at})
    head += fmt::format("<th scope=\"col\">{}</th>", page(word));
  if (sentences) head += fmt::format("<th scope=\"col\">{}</th>", page(Word::in_words));
  std::string rows;
  for (const Check* check : some.checks) rows += row(page, *check, sentences);
  std::string part = fmt::format(
      "<div class=\"wide\" tabindex=\"0\" role=\"group\" "
      "aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>{1}</tr></thead>"
      "<tbody>\n{2}</tbody></table></div>\n",
      page(Word::checks, html::text(requirement.id, 40)), head, rows);
  if (some.failed > 0) part += fmt::format("<p>{}</p>\n", page(Word::more_failed, some.failed));
  if (some.passed > 0) part += fmt::format("<p class=\"dim\">{}</p>\n", page(Word::more_passed, some.passed));
  return part;
}

std::string findings(const Page& page, const Requirement& requirement) {
  std::string list;
  const auto failed = failed_checks(requirement);
  for (std::size_t i = 0; i < std::min(failed.size(), most_sentences); ++i)
    list += fmt::format("<li>{}</li>", finding_of(page, *failed[i]));
  if (list.empty()) return "";
  return fmt::format("<p><strong>{}</strong></p><ul>{}</ul>\n", page(Word::findings), list);
}

std::string reason_of(const Page& page, const Reason& reason) {
  switch (reason.kind) {
    case Reason::Kind::none:
      return "";
    case Reason::Kind::stated:
      return page.quoted(reason.words, 1000);
    case Reason::Kind::outside_only:
      return page(Word::outside_only);
    case Reason::Kind::outside_shard:
      return page(Word::outside_shard, reason.shard.index, reason.shard.of);
  }
  return "";
}

std::string evidence(const Page& page, const Requirement& requirement) {
  std::string part;
  const auto line = [&](Word name, const std::string& value) {
    if (!value.empty()) part += fmt::format("<p><strong>{}</strong> {}</p>\n", page(name), value);
  };
  const auto document = [&](const std::string& text) { return text.empty() ? "" : page.quoted(text, 1000); };
  if (const Waiver* waiver = waiver_of(page.result.header, requirement))
    line(Word::waived,
         fmt::format("{} ({}, {})", bdi(waiver->reason, 600), page(Word::answered_by, bdi(waiver->who, 100)),
                     page(Word::until, bdi(waiver->expires, 20))));
  line(Word::reason, reason_of(page, requirement.reason));
  line(Word::finding, document(requirement.finding));
  part += findings(page, requirement) + checks(page, requirement);
  std::size_t picture = 0;
  const std::string id = page.anchor(requirement);
  for (const Plot& plot : page.result.plots)
    if (plot.requirement == requirement.id)
      part += picture_of(page, plot, fmt::format("{}-plot-{}", id, ++picture));
  for (const Matrix& matrix : page.result.matrices)
    if (matrix.requirement == requirement.id)
      part += picture_of(page, matrix, fmt::format("{}-plot-{}", id, ++picture));
  line(Word::source, document(requirement.source));
  const std::string command = command_for(page.result.header, requirement.chapter);
  if (!command.empty())
    line(command == page.result.header.command ? Word::repeat_all : Word::repeat,
         fmt::format("<code class=\"command\">{}</code>", bdi(command, 2000)));
  return part + fmt::format("<p class=\"dim\">{}</p>\n", page(Word::took, amount(requirement.seconds)));
}

std::string requirement_part(const Page& page, const Requirement& requirement, bool opened) {
  const auto share = share_of(requirement);
  std::string tags = requirement.level == Level::should
                         ? fmt::format(" <span class=\"tag\">{}</span>", page(Word::should))
                         : "";
  if (waiver_of(page.result.header, requirement) != nullptr)
    tags += fmt::format(" <span class=\"tag\">{}</span>", page(Word::waived));
  return fmt::format(
      "<li data-verdict=\"{}\"><details id=\"{}\"{}><summary>{} <span class=\"id\">{}</span> <span "
      "class=\"statement\">{}{}</span>"
      "<span class=\"room\">{}</span></summary>\n<div class=\"evidence\">\n{}</div></details></li>\n",
      style_of(requirement.verdict), page.anchor(requirement), opened ? " open" : "",
      badge(page, requirement.verdict), bdi(requirement.id, 40), page.translated(requirement.statement, 600),
      tags, share ? html::text(share_in_words(page, *share)) : "", evidence(page, requirement));
}

std::string tally(const Page& page, const Counts& counts) {
  std::vector<std::string> list;
  const auto add = [&](int number, Word word) {
    if (number > 0) list.push_back(page(word, number));
  };
  add(counts.passed, Word::passed_count);
  add(counts.failed, Word::failed_count);
  add(counts.errors, Word::error_count);
  add(counts.not_assessed, Word::not_assessed_count);
  add(counts.not_applicable, Word::not_applicable_count);
  return page.joined(list);
}

}  // namespace

std::string chapters_part(const Page& page) {
  std::string rows;
  for (const Section& section : sections(page.result)) {
    std::string marks;
    for (const Requirement* one : section.requirements)
      marks += fmt::format(
          "<a class=\"{0}\" href=\"#{1}\" title=\"{2}: {3}\"><span aria-hidden=\"true\">{4} {5}</span><span "
          "class=\"hidden\">{2}: {3}</span></a>",
          style_of(one->verdict), page.anchor(*one), html::text(one->id, 40), page(word_of(one->verdict)),
          mark_of(one->verdict), html::text(short_id(one->id), 6));
    rows += fmt::format(
        "<tr><th scope=\"row\"><a href=\"#{}chapter-{}\">{}</a></th><td class=\"marks\">{}</td><td "
        "class=\"dim\">{}</td></tr>\n",
        page.prefix, section.chapter.number, page.title(section.chapter), marks, tally(page, section.counts));
  }
  return fmt::format(
      "<section class=\"card\" aria-labelledby=\"{0}chapters\">\n{1}<table "
      "class=\"chapters\"><caption>{2}</caption>"
      "<thead class=\"hidden\"><tr><th scope=\"col\">{3}</th><th scope=\"col\">{4}</th><th "
      "scope=\"col\">{5}</th></tr></thead>"
      "<tbody>\n{6}</tbody></table>\n</section>\n",
      page.prefix, page.heading(1, "chapters", page(Word::chapters)), page(Word::chapters_note),
      page(Word::chapter), page(Word::requirements), page(Word::verdict), rows);
}

std::string requirements_part(const Page& page) {
  std::string part;
  int opened = 0;
  for (const Section& section : sections(page.result)) {
    part += page.heading(2, fmt::format("chapter-{}", section.chapter.number), page.title(section.chapter));
    std::string list;
    for (const Requirement* one : section.requirements) {
      const bool bad = one->verdict == Verdict::fail || one->verdict == Verdict::error;
      list += requirement_part(page, *one, bad && opened++ < most_opened);
    }
    if (!list.empty()) part += fmt::format("<ul class=\"requirements\">\n{}</ul>\n", list);
  }
  return fmt::format("<section aria-labelledby=\"{0}requirements\">\n{1}{2}</section>\n", page.prefix,
                     page.heading(1, "requirements", page(Word::requirements)), part);
}

}  // namespace plumbline::reports
