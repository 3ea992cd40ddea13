// The first screen: the verdict, what was judged, counts, waivers, and where and why something failed.
#include <fmt/format.h>

#include <algorithm>

#include "harness/result/traits.hpp"
#include "reports/page_parts.hpp"
#include "reports/rerun.hpp"

namespace plumbline::reports {
namespace {

using html::bdi;

std::string shortened(const std::string& hash) {
  return hash.size() > 16 ? hash.substr(0, 12) + "…" : hash;
}

std::string kind(const Page& page) {
  const std::string& name = page.result.header.candidate_kind;
  if (name == "reference" && page.result.header.candidate.starts_with("defect:"))
    return page(Word::kind_defect);
  if (name == "reference" && page.result.header.candidate.starts_with("variant:"))
    return page(Word::kind_variant);
  for (const auto& [known, word] :
       {std::pair("reference", Word::kind_reference), std::pair("checkpoint", Word::kind_checkpoint),
        std::pair("state_dict", Word::kind_state_dict), std::pair("live", Word::kind_live),
        std::pair("pair", Word::kind_pair)})
    if (name == known) return page(word);
  return page.quoted(name);
}

std::string counts(const Page& page) {
  const Footer& footer = page.result.footer;
  std::string list;
  const auto count = [&](int number, Verdict verdict, Word word) {
    if (number == 0) return;
    list += fmt::format("<li class=\"{}\"><span class=\"mark\" aria-hidden=\"true\">{}</span> {}</li>",
                        style_of(verdict), mark_of(verdict), page(word, number));
  };
  count(footer.passed, Verdict::pass, Word::passed_count);
  count(footer.failed, Verdict::fail, Word::failed_count);
  if (footer.waived > 0) list += fmt::format("<li>{}</li>", page(Word::waived_count, footer.waived));
  count(footer.errors, Verdict::error, Word::error_count);
  count(footer.not_assessed, Verdict::not_assessed, Word::not_assessed_count);
  count(footer.not_applicable, Verdict::not_applicable, Word::not_applicable_count);
  const auto musts = std::count_if(
      page.result.requirements.begin(), page.result.requirements.end(), [](const Requirement& one) {
        return one.level == Level::must && (one.verdict == Verdict::pass || one.verdict == Verdict::fail);
      });
  return fmt::format(
      "<ul class=\"counts\">{}</ul>\n<p class=\"dim\">{}{}{}{}</p>\n", list, page(Word::musts_note, musts),
      page.stop(),
      page(Word::compared_in, html::digits(footer.elements_compared), html::amount(footer.seconds)),
      footer.longest_pass > 0 ? page.stop() + page(Word::longest_pass, html::digits(footer.longest_pass))
                              : "");
}

// Name, kind, hash, specification, framework, device and type in a line or two.
std::string identity(const Page& page) {
  const Header& header = page.result.header;
  std::string line = fmt::format("<strong>{}</strong>", bdi(header.candidate, 80));
  if (header.baseline) line += fmt::format(" ↔ <strong>{}</strong>", bdi(header.baseline->name, 80));
  const auto add = [&](const std::string& part) {
    if (!part.empty()) line += fmt::format(" <span class=\"part\">{}</span>", part);
  };
  add(kind(page));
  if (!header.candidate_sha256.empty())
    add(fmt::format("SHA-256 <code>{}</code>", bdi(shortened(header.candidate_sha256), 20)));
  if (!header.versions.empty())
    add(fmt::format("{} {}", bdi(header.versions[0].first, 40), bdi(header.versions[0].second, 40)));
  add(page.quoted(header.device, 60));
  add(bdi(header.dtype, 20));
  return fmt::format("<p class=\"identity\">{}</p>\n", line);
}

std::string waivers(const Page& page) {
  const Header& header = page.result.header;
  if (header.waivers.empty()) return "";
  std::string list;
  for (const Waiver& one : header.waivers) {
    const bool holds = in_force(one, header);
    const bool idle = std::any_of(page.result.requirements.begin(), page.result.requirements.end(),
                                  [&](const Requirement& other) { return is_idle(one, other, header); });
    list += fmt::format("<li class=\"{}\"><strong>{}</strong> {} {}: {} ({}, {})</li>",
                        holds ? "held" : "expired", bdi(one.requirement, 40),
                        page(!holds ? Word::waiver_expired
                             : idle ? Word::waiver_unneeded
                                    : Word::waiver_in_force),
                        page(Word::reason), bdi(one.reason, 600), page(Word::answered_by, bdi(one.who, 100)),
                        page(Word::until, bdi(one.expires, 20)));
  }
  return fmt::format(
      "<section class=\"waivers\" aria-labelledby=\"{0}waivers\">\n{1}<ul>{2}</ul>\n</section>\n",
      page.prefix, page.heading(1, "waivers", page(Word::waivers)), list);
}

std::string verdict(const Page& page) {
  const Result& result = page.result;
  const Verdict as = verdict_of(result.footer.status);
  std::string part = fmt::format("<section class=\"verdict {}\" aria-labelledby=\"{}verdict\">\n",
                                 style_of(as), page.prefix);
  if (const auto& shard = result.header.shard)
    part += fmt::format("<p class=\"notice\">{}</p>\n", page(Word::shard, shard->index, shard->of));
  part += fmt::format("<p class=\"word\"><span class=\"mark\" aria-hidden=\"true\">{}</span> {}</p>\n",
                      mark_of(as), page(word_of_status(result.header, result.footer.status)));
  part +=
      page.heading(0, "verdict", html::text(verdict_sentence(result, page.language, page.translation), 600));
  if (!is_whole(result.header))
    part += fmt::format("<p class=\"notice\">{}</p>\n",
                        page(Word::only, bdi(scope_sentence(result.header, page.language), 100)));
  return part + waivers(page) + identity(page) + counts(page) + "</section>\n";
}

std::string stage_line(const Page& page, Word name, Word note, const StageErrors& stage, const Check& check) {
  std::string line =
      fmt::format("<dt>{} <span class=\"dim\">{}</span></dt><dd><code class=\"stage\">{}</code>", page(name),
                  page(note), bdi(to_string(stage.stage), 100));
  if (const auto share = share_of(check))
    line += fmt::format(" <span class=\"share\">{}</span>", share_in_words(page, *share));
  return line + fmt::format("<p>{}</p></dd>", finding_of(page, check));
}

std::string where(const Page& page) {
  if (!page.result.localisation) return "";
  const Localisation& found = *page.result.localisation;
  const bool two = page.result.header.baseline.has_value();
  std::string list;
  if (const auto* stage = first_locally_wrong(found))
    list += stage_line(page, Word::first_wrong, Word::first_wrong_note, *stage, *stage->local);
  else if (!found.stages.empty())
    list += fmt::format("<dt>{}</dt><dd>{}</dd>", page(Word::first_wrong), page(Word::no_local));
  if (const auto* stage = first_divergent(found); stage != nullptr && stage != first_locally_wrong(found))
    list += stage_line(page, Word::first_divergent, Word::first_divergent_note, *stage, *stage->inherited);
  std::string part = page.heading(1, "where", page(two ? Word::where_different : Word::where_wrong));
  part += fmt::format("<p><strong>{}</strong></p>\n", stage_sentence(page));
  if (!list.empty()) part += fmt::format("<dl class=\"where\">{}</dl>\n", list);
  if (found.line)
    part += fmt::format("<p>{}</p>\n",
                        page(Word::made_at, fmt::format("<code>{}</code>", bdi(found.line->where, 200)),
                             fmt::format("<code>{}</code>", bdi(found.line->code, 200))));
  std::string traits;
  for (const Trait& one : found.traits)
    traits += fmt::format(
        "<li>{}</li>",
        html::text(page.language == Language::chinese ? chinese_sentence_of(one) : sentence_of(one), 400));
  if (!traits.empty()) part += fmt::format("<ul class=\"traits\">{}</ul>\n", traits);
  return fmt::format("<section class=\"card\" aria-labelledby=\"{}where\">\n{}</section>\n", page.prefix,
                     part);
}

std::string accounted(const Page& page, const Diagnosis& found) {
  const Explanation& best = found.explanations.front();
  return page(Word::explained_counts, best.explained, found.differing, best.contradicted);
}

// What each cause is, and which failed requirements it accounts for.
std::string causes(const Page& page, const Diagnosis& found) {
  if (found.causes.empty()) return "";
  std::string rows;
  const auto row = [&](const std::string& name, const std::string& what,
                       const std::vector<std::string>& ids) {
    std::string list;
    for (const std::string& id : ids) list += (list.empty() ? "" : ", ") + bdi(id, 40);
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n", name, what, list);
  };
  for (const Cause& cause : found.causes)
    row(fmt::format("<code>{}</code>", bdi(cause.defect, 100)), page.quoted(cause.what, 300), cause.fails);
  if (!found.fail_together.empty()) row(page(Word::only_together), "", found.fail_together);
  if (!found.not_reproduced.empty()) row(page(Word::not_reproduced), "", found.not_reproduced);
  if (!found.not_asked.empty()) row(page(Word::not_asked), "", found.not_asked);
  return fmt::format(
      "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\"><table "
      "class=\"causes\"><thead><tr><th "
      "scope=\"col\">{0}</th><th scope=\"col\">{1}</th><th "
      "scope=\"col\">{2}</th></tr></thead><tbody>\n{3}</tbody></table></div>\n",
      page(Word::cause), page(Word::what_it_is), page(Word::accounts_for), rows);
}

std::string why(const Page& page) {
  if (!page.result.diagnosis) return "";
  const Diagnosis& found = *page.result.diagnosis;
  const bool is_undecided = found.differing == 0 && !found.undecided.empty();
  std::string part = page.heading(1, "why", page(is_undecided ? Word::undecided : Word::why));
  part += fmt::format("<p><strong>{}</strong></p>\n", diagnosis_sentence(page, found));
  if (!found.explanations.empty()) part += fmt::format("<p class=\"dim\">{}</p>\n", accounted(page, found));
  part += causes(page, found);
  for (const Advice& one : found.advice)
    part += fmt::format(
        "<p class=\"advice\"><strong>{} <code>{}</code>:</strong> {}</p>\n", page(Word::advice),
        bdi(one.defect, 100),
        html::with_code(
            for_candidate(page.result.header, page.language == Language::chinese ? one.chinese : one.english),
            4000));
  return fmt::format("<section class=\"card\" aria-labelledby=\"{}why\">\n{}</section>\n", page.prefix, part);
}

std::string judged(const Page& page) {
  const Header& header = page.result.header;
  std::string list;
  const auto row = [&](Word name, const std::string& value) {
    if (!value.empty()) list += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", page(name), value);
  };
  const auto code = [](const std::string& value, std::size_t limit) {
    return value.empty() ? std::string() : fmt::format("<code>{}</code>", bdi(value, limit));
  };
  row(Word::candidate, bdi(header.candidate));
  if (header.baseline) row(Word::baseline, bdi(header.baseline->name));
  row(Word::kind, kind(page));
  row(Word::candidate_hash,
      header.candidate_sha256.empty() ? page(Word::no_hash) : code(shortened(header.candidate_sha256), 20));
  row(Word::specification, bdi(header.specification));
  row(Word::device, page.quoted(header.device));
  row(Word::dtype, bdi(header.dtype, 40));
  std::vector<std::string> versions{"plumbline " + bdi(header.plumbline_version, 40)};
  for (const auto& [name, version] : header.versions)
    versions.push_back(bdi(name, 40) + " " + bdi(version, 60));
  row(Word::versions, page.joined(versions));
  row(Word::threads, header.threads > 0 ? fmt::format("{}", header.threads) : "");
  row(Word::seed, fmt::format("{}", header.seed));
  row(Word::scope,
      is_whole(header) ? page(Word::everything) : bdi(scope_sentence(header, page.language), 100));
  if (header.commit)
    row(Word::commit, fmt::format("{} ({})", code(header.commit->id, 64),
                                  page(header.commit->clean ? Word::commit_clean : Word::commit_dirty)));
  row(Word::started, bdi(header.started, 40));
  row(Word::command, code(header.command, 2000));
  std::vector<std::string> notes;
  for (std::size_t i = 0; i < std::min<std::size_t>(header.notes.size(), 50); ++i)
    notes.push_back(page.quoted(header.notes[i]));
  row(Word::notes, page.joined(notes));
  std::string table = fmt::format("<dl class=\"judged\">{}</dl>\n", list);
  list.clear();
  row(Word::candidate_hash, code(header.candidate_sha256, 80));
  if (header.baseline) row(Word::baseline_hash, code(header.baseline->sha256, 80));
  row(Word::specification_hash, code(header.specification_sha256, 80));
  if (!list.empty())
    table += fmt::format("<details><summary>{}</summary><dl class=\"judged hashes\">{}</dl></details>\n",
                         page(Word::full_hashes), list);
  return fmt::format("<section class=\"card\" aria-labelledby=\"{}judged\">\n{}{}</section>\n", page.prefix,
                     page.heading(1, "judged", page(Word::judged)), table);
}

}  // namespace

std::string first_screen(const Page& page) {
  std::string main = where(page) + why(page);
  const std::string overview = chapters_part(page);
  const bool failed = !main.empty();
  if (!failed) main = overview;
  return verdict(page) +
         fmt::format("<div class=\"first\"><div>\n{}</div><div>\n{}</div></div>\n", main, judged(page)) +
         (failed ? overview : "");
}

}  // namespace plumbline::reports
