#include "harness/result/words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "harness/result/waivers.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {

void Counts::add(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      ++passed;
      return;
    case Verdict::fail:
      ++failed;
      return;
    case Verdict::error:
      ++errors;
      return;
    case Verdict::not_assessed:
      ++not_assessed;
      return;
    case Verdict::not_applicable:
      ++not_applicable;
      return;
  }
}

std::vector<std::pair<Verdict, std::string>> parts(const Counts& counts) {
  std::vector<std::pair<Verdict, std::string>> found;
  const auto say = [&](int count, Verdict verdict, const char* what) {
    if (count > 0) found.emplace_back(verdict, fmt::format("{} {}", count, what));
  };
  say(counts.passed, Verdict::pass, "passed");
  say(counts.failed, Verdict::fail, "failed");
  say(counts.errors, Verdict::error, counts.errors == 1 ? "error" : "errors");
  say(counts.not_assessed, Verdict::not_assessed, "not assessed");
  say(counts.not_applicable, Verdict::not_applicable, "not applicable");
  return found;
}

std::string in_words(const Counts& counts) {
  std::string words;
  for (const auto& [verdict, part] : parts(counts)) words += (words.empty() ? "" : ", ") + part;
  return words.empty() ? "nothing to check" : words;
}

bool in_force(const Waiver& waiver, const Header& header) {
  const std::string day = header.started.substr(0, 10);
  return is_day(day) && is_day(waiver.expires) && waiver.expires >= day;
}

const Waiver* waiver_of(const Header& header, const Requirement& requirement) {
  if (requirement.verdict != Verdict::fail) return nullptr;
  for (const Waiver& waiver : header.waivers)
    if (waiver.requirement == requirement.id && in_force(waiver, header)) return &waiver;
  return nullptr;
}

std::string in_words(const Waiver& waiver) {
  return fmt::format("waived by {} until {}: {}", visible(waiver.who, 80), visible(waiver.expires, 20),
                     visible(waiver.reason, 200));
}

std::string in_words(const Shard& shard) {
  return fmt::format("shard {} of {}", shard.index, shard.of);
}

std::string in_words(const Commit& commit) {
  return fmt::format("{}{}", visible(commit.id, 80),
                     commit.clean ? "" : ", with changes that are not committed");
}

const char* mark_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return "✔";
    case Verdict::fail:
      return "✘";
    case Verdict::error:
      return "!";
    case Verdict::not_assessed:
      return "?";
    case Verdict::not_applicable:
      return "–";
  }
  return "!";
}

const char* word_of_status(int status) {
  return status == 0 ? "pass" : status == 1 ? "fail" : status == 3 ? "incomplete" : "error";
}

bool any_failed(const Result& result) {
  return std::any_of(result.requirements.begin(), result.requirements.end(),
                     [](const Requirement& one) { return one.verdict == Verdict::fail; });
}

std::vector<Section> sections(const Result& result) {
  std::vector<Section> found;
  std::map<int, std::size_t> place;
  const auto open = [&](const Chapter& chapter) {
    if (place.emplace(chapter.number, found.size()).second) found.push_back({chapter, {}, {}, 0});
  };
  for (const Chapter& chapter : result.chapters) open(chapter);
  for (const Requirement& requirement : result.requirements) {
    open({requirement.chapter, ""});
    Section& section = found[place.at(requirement.chapter)];
    section.requirements.push_back(&requirement);
    section.counts.add(requirement.verdict);
    section.seconds += requirement.seconds;
  }
  return found;
}

std::vector<const Check*> failed_checks(const Requirement& requirement) {
  std::vector<const Check*> failed;
  for (const Check& check : requirement.checks) {
    if (!check.within) failed.push_back(&check);
  }
  return failed;
}

const LocalisationWords& words_of_localisation(const Header& header) {
  static const LocalisationWords of_one = {"Where it goes wrong", "first divergent", "first locally wrong",
                                           "right", "wrong"};
  static const LocalisationWords of_two = {"Where they differ", "first difference", "first local difference",
                                           "the same", "different"};
  return header.baseline ? of_two : of_one;
}

const char* title_of(const Diagnosis& diagnosis) {
  return diagnosis.differing == 0 && !diagnosis.undecided.empty() ? "Not decided" : "Why";
}

std::string situations(const Localisation& localisation, bool right) {
  std::string names;
  std::size_t count = 0;
  for (const Situation& one : localisation.situations) {
    if (one.check.within != right) continue;
    names += (names.empty() ? "" : ", ") + one.name;
    ++count;
  }
  return count > 1 && count == localisation.situations.size()
             ? fmt::format("all {} ways to run it that were tried", count)
             : names;
}

std::string counted(std::int64_t count, const std::string& singular) {
  std::string digits = std::to_string(count);
  for (auto at = static_cast<std::int64_t>(digits.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return fmt::format("{} {}{}", digits, singular, count == 1 ? "" : "s");
}

std::string heading(const Chapter& chapter) {
  return chapter.title.empty() ? fmt::format("chapter {}", chapter.number)
                               : fmt::format("{} {}", chapter.number, chapter.title);
}

bool is_whole(const Header& header) {
  return header.scope.empty() || header.scope == "everything";
}

std::string scope_in_words(const std::string& scope) {
  if (scope.find_first_not_of("0123456789, ") != std::string::npos) return scope;
  std::vector<std::string> numbers(1);
  for (const char character : scope) {
    if (character != ',' && character != ' ') {
      numbers.back() += character;
    } else if (!numbers.back().empty()) {
      numbers.emplace_back();
    }
  }
  if (numbers.back().empty()) numbers.pop_back();
  if (numbers.size() < 2) return "chapter " + (numbers.empty() ? scope : numbers.front());
  std::string words = "chapters " + numbers.front();
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    words += (i + 1 == numbers.size() ? " and " : ", ") + numbers[i];
  }
  return words;
}

}  // namespace plumbline::reports
