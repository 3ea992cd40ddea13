#include "reports/page.hpp"

#include <fmt/format.h>

#include <deque>
#include <map>

#include "reports/page_parts.hpp"

namespace plumbline::reports {
namespace {

using html::bdi;

// Only the script shows it, since it does not work without.
std::string filter(Language language) {
  std::string boxes;
  for (const Verdict verdict :
       {Verdict::fail, Verdict::error, Verdict::not_assessed, Verdict::pass, Verdict::not_applicable})
    boxes += fmt::format("<label><input type=\"checkbox\" value=\"{}\" checked> {} {}</label>",
                         style_of(verdict), mark_of(verdict), say(word_of(verdict), language));
  return fmt::format(
      "<form class=\"filter\" role=\"search\" aria-label=\"{}\" hidden><label>{} <input type=\"search\" "
      "name=\"text\"></label>"
      "<fieldset><legend>{}</legend>{}</fieldset><output></output></form>\n",
      say(Word::filter, language), say(Word::filter_text, language), say(Word::filter_verdicts, language),
      boxes);
}

std::string colophon(const std::string& version, Language language) {
  return fmt::format("<footer><p>{} <a class=\"top-link\" href=\"#main\">{}</a></p></footer>\n",
                     fmt::format(fmt::runtime(say(Word::colophon, language)), bdi(version, 40)),
                     say(Word::to_top, language));
}

// `title` is safe already.
std::string document(Language language, const std::string& title, const std::string& version,
                     const std::string& body) {
  const std::string style = page_style(), script = page_script();
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {}; script-src "
      "{}; base-uri 'none'; "
      "form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" "
      "content=\"no-referrer\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<a class=\"skip\" "
      "href=\"#requirements\">{}</a>\n"
      "<header class=\"top\"><p><strong>Plumbline</strong> "
      "{}</p></header>\n<main id=\"main\">\n{}</main>\n{}<script>{}</script>\n</body>\n</html>\n",
      language == Language::chinese ? "zh-Hans" : "en", html::csp_hash(style), html::csp_hash(script), title,
      style, say(Word::skip, language), say(Word::report, language), body, colophon(version, language),
      script);
}

std::string title_of(const Page& page) {
  const Header& header = page.result.header;
  return fmt::format("{} {}: {}", mark_of(verdict_of(page.result.footer.status)),
                     page(word_of_status(header, page.result.footer.status)),
                     html::text(header.candidate, 80));
}

std::string parts_of(const Page& page) {
  return first_screen(page) + pictures_part(page) + requirements_part(page);
}

// A row of the table: the requirement of one id on each page that has it.
struct Across {
  const Requirement* first = nullptr;
  std::map<std::size_t, const Requirement*> of;
};

std::string mark_in(const Page& page, const Requirement* requirement) {
  if (requirement == nullptr) return fmt::format("<span class=\"dim\">{}</span>", page(Word::not_in_it));
  return fmt::format("<a href=\"#{}\">{}</a>", page.anchor(*requirement), badge(page, requirement->verdict));
}

std::string across(const std::deque<Page>& pages) {
  std::vector<std::string> order;
  std::map<std::string, Across> rows;
  for (std::size_t i = 0; i < pages.size(); ++i)
    for (const Requirement& one : pages[i].result.requirements) {
      Across& row = rows[one.id];
      if (row.first == nullptr) row.first = &one, order.push_back(one.id);
      row.of.emplace(i, &one);
    }
  const Page& first_page = pages.front();
  std::string head = fmt::format("<th scope=\"col\">{}</th>", first_page(Word::requirement));
  std::string verdicts = fmt::format("<tr><th scope=\"row\">{}</th>", first_page(Word::verdict));
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const Footer& footer = pages[i].result.footer;
    const Verdict verdict = verdict_of(footer.status);
    head += fmt::format("<th scope=\"col\">{}. <a href=\"#{}verdict\">{}</a></th>", i + 1, pages[i].prefix,
                        bdi(pages[i].result.header.candidate, 60));
    verdicts += fmt::format(
        "<td><span class=\"badge {}\"><span class=\"mark\" aria-hidden=\"true\">{}</span> {}</span></td>",
        style_of(verdict), mark_of(verdict),
        first_page(word_of_status(pages[i].result.header, footer.status)));
  }
  std::string body = verdicts + "</tr>\n";
  for (const std::string& id : order) {
    const Across& row = rows.at(id);
    std::string cells, kinds;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      const auto found = row.of.find(i);
      const Requirement* one = found == row.of.end() ? nullptr : found->second;
      cells += fmt::format("<td>{}</td>", mark_in(pages[i], one));
      if (one != nullptr) kinds += fmt::format("{}{}", kinds.empty() ? "" : " ", style_of(one->verdict));
    }
    body +=
        fmt::format("<tr data-verdict=\"{}\"><th scope=\"row\"><span class=\"id\">{}</span> {}</th>{}</tr>\n",
                    kinds, bdi(id, 40), first_page.translated(row.first->statement), cells);
  }
  return fmt::format(
      "<section class=\"card\" aria-labelledby=\"requirements\">\n<h1 id=\"requirements\">{0}</h1>\n{1}"
      "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\"><table "
      "class=\"across\"><caption>{2}</caption><thead><tr>{3}</tr></thead><tbody>\n{4}</tbody></table></"
      "div>\n</section>\n",
      first_page(Word::side_by_side, pages.size()), filter(first_page.language),
      first_page(Word::side_by_side_note), head, body);
}

}  // namespace

std::string to_html(const Result& result, Language language, const Translation* translation) {
  const Page page(result, language, translation);
  return document(language, title_of(page), result.header.plumbline_version,
                  first_screen(page) + pictures_part(page) + filter(language) + requirements_part(page));
}

std::string to_html(const std::vector<Result>& results, Language language, const Translation* translation) {
  if (results.size() == 1) return to_html(results.front(), language, translation);
  std::deque<Page> pages;
  for (const Result& result : results)
    pages.emplace_back(result, language, translation, fmt::format("candidate-{}-", pages.size() + 1), 2);
  const std::string title = fmt::format(fmt::runtime(say(Word::side_by_side, language)), pages.size());
  if (pages.empty())
    return document(language, title, "", fmt::format("<h1 id=\"requirements\">{}</h1>\n", title));
  std::string body = across(pages);
  std::size_t number = 0;
  for (const Page& page : pages)
    body +=
        fmt::format("<article aria-label=\"{}: {}\">\n{}</article>\n", page(Word::candidate_number, ++number),
                    html::text(page.result.header.candidate, 80), parts_of(page));
  return document(language, title, results.front().header.plumbline_version, body);
}

}  // namespace plumbline::reports
