#include "reports/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>

#include "harness/result/contradictions.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/visible.hpp"
#include "reports/rerun.hpp"

namespace plumbline::reports {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw InputError(fmt::format("{}: {}", visible(name), why));
}

// Shards may run on machines that differ in the processor's name and in the release of the system.
std::string text_of(const std::vector<std::pair<std::string, std::string>>& versions) {
  std::string words;
  for (const auto& [name, version] : versions)
    if (name != "system" && name != "cpu")
      words += fmt::format("{}{} {}", words.empty() ? "" : ", ", name, version);
  return words;
}

std::string text_of(const std::vector<Waiver>& waivers) {
  std::string words;
  for (const Waiver& one : waivers)
    words += fmt::format("{}{} {}", words.empty() ? "" : ", ", one.requirement, in_words(one));
  return words;
}

// The command without --shard and without the directory that each shard has of its own.
std::string whole_command(const std::string& command) {
  return command_without(command, {"--shard", "--out"});
}

// The notes that all shards have. Others belong to one shard, such as how long it waited for a live model.
std::vector<std::string> notes_of(const std::vector<Source>& shards) {
  std::vector<std::string> notes = shards.front().result.header.notes;
  for (const Source& one : shards)
    std::erase_if(notes, [&](const std::string& note) {
      const auto& others = one.result.header.notes;
      return std::find(others.begin(), others.end(), note) == others.end();
    });
  return notes;
}

// The properties that all shards of one run have in common: names and values.
std::vector<std::pair<const char*, std::string>> common(const Header& header) {
  return {{"Plumbline", header.plumbline_version},
          {"specification", header.specification},
          {"specification_sha256", header.specification_sha256},
          {"candidate", header.candidate},
          {"candidate_kind", header.candidate_kind},
          {"candidate_sha256", header.candidate_sha256},
          {"baseline", header.baseline ? header.baseline->name + " " + header.baseline->sha256 : ""},
          {"device", header.device.starts_with("cpu") ? "cpu" : header.device},
          {"dtype", header.dtype},
          {"threads", std::to_string(header.threads)},
          {"seed", std::to_string(header.seed)},
          {"versions", text_of(header.versions)},
          {"command", whole_command(header.command)},
          {"scope", header.scope},
          {"waivers", text_of(header.waivers)},
          {"commit", header.commit ? in_words(*header.commit) : ""}};
}

void require_the_same_run(const Source& first, const Source& other) {
  const auto expected = common(first.result.header), actual = common(other.result.header);
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (expected[i].second != actual[i].second)
      refuse(other.name, fmt::format("is a shard of another run than {}: its {} is \"{}\" and not \"{}\"",
                                     visible(first.name), expected[i].first, visible(actual[i].second, 120),
                                     visible(expected[i].second, 120)));
  const auto chapter = [](const Chapter& a, const Chapter& b) {
    return std::tie(a.number, a.title) == std::tie(b.number, b.title);
  };
  const auto& chapters = first.result.chapters;
  if (!std::equal(chapters.begin(), chapters.end(), other.result.chapters.begin(),
                  other.result.chapters.end(), chapter))
    refuse(other.name, "does not have the chapters of " + visible(first.name));
  const auto statement = [](const Requirement& a, const Requirement& b) {
    return std::tie(a.id, a.chapter, a.statement, a.level, a.source) ==
           std::tie(b.id, b.chapter, b.statement, b.level, b.source);
  };
  const auto& requirements = first.result.requirements;
  if (!std::equal(requirements.begin(), requirements.end(), other.result.requirements.begin(),
                  other.result.requirements.end(), statement))
    refuse(other.name, "does not have the requirements of " + visible(first.name));
}

void require_sound(const Source& source) {
  const auto wrong = contradictions(source.result);
  if (!wrong.empty()) refuse(source.name, wrong.front() + "; it was edited or damaged");
}

// Sorts the shards by their numbers. Errors: InputError unless each is there once.
void require_all(std::vector<Source>& shards) {
  const int of = shards.front().result.header.shard->of;
  for (const Source& one : shards)
    if (one.result.header.shard->of != of)
      refuse(one.name,
             fmt::format("is {}, where {} is {}", in_words(*one.result.header.shard),
                         visible(shards.front().name), in_words(*shards.front().result.header.shard)));
  const auto index = [](const Source& source) { return source.result.header.shard->index; };
  std::stable_sort(shards.begin(), shards.end(),
                   [&](const auto& a, const auto& b) { return index(a) < index(b); });
  for (std::size_t i = 0; i + 1 < shards.size(); ++i)
    if (index(shards[i]) == index(shards[i + 1]))
      refuse(shards[i + 1].name, fmt::format("is {}, and so is {}", in_words(*shards[i].result.header.shard),
                                             visible(shards[i].name)));
  for (int expected = 1; expected <= of; ++expected) {
    const auto at = static_cast<std::size_t>(expected - 1);
    if (at >= shards.size() || index(shards[at]) != expected)
      throw InputError(fmt::format("shard {} of {} is missing; all {} are needed", expected, of, of));
  }
}

// The requirement from the shard that looked at it. One that is not applicable, or that --only left out, is
// the same in all shards.
const Requirement& looked_at(const std::vector<Source>& shards, std::size_t at) {
  const Source* found = nullptr;
  for (const Source& one : shards) {
    const Requirement& requirement = one.result.requirements[at];
    if (requirement.reason.kind == Reason::Kind::outside_shard) continue;
    const bool settled = requirement.verdict == Verdict::not_applicable || requirement.reason.left_out();
    if (found != nullptr && !settled)
      refuse(one.name,
             fmt::format("looked at {}, and so did {}", visible(requirement.id, 40), visible(found->name)));
    if (found == nullptr) found = &one;
  }
  if (found == nullptr)
    throw InputError(
        fmt::format("{}: no shard checked this requirement; were all shards made with the same Plumbline?",
                    visible(shards.front().result.requirements[at].id, 40)));
  return found->result.requirements[at];
}

// The pictures in the order of a single run: by requirement, then those of the whole run, from the first
// shard that has some.
template <typename Picture>
std::vector<Picture> pictures_of(const std::vector<Source>& shards, std::vector<Picture> Result::*pictures) {
  std::vector<Picture> all;
  const auto append = [&](const Source& from, const std::string& requirement) {
    const std::size_t before = all.size();
    for (const Picture& one : from.result.*pictures)
      if (one.requirement == requirement) all.push_back(one);
    return all.size() > before;
  };
  const auto append_from_first = [&](const std::string& requirement) {
    for (const Source& one : shards)
      if (append(one, requirement)) return;
  };
  for (const Requirement& requirement : shards.front().result.requirements) append_from_first(requirement.id);
  append_from_first("");
  return all;
}

}  // namespace

Result merge_shards(std::vector<Source> shards) {
  for (const Source& one : shards)
    if (!one.result.header.shard) refuse(one.name, "is a whole run, not a shard: only shards can be merged");
  require_all(shards);
  for (const Source& one : shards) {
    require_the_same_run(shards.front(), one);
    require_sound(one);
  }
  Result whole = shards.front().result;
  whole.header.shard.reset();
  whole.header.command = whole_command(whole.header.command);
  whole.header.notes = notes_of(shards);
  whole.localisation.reset();
  whole.diagnosis.reset();
  whole.footer.seconds = 0;
  whole.plots = pictures_of(shards, &Result::plots);
  whole.matrices = pictures_of(shards, &Result::matrices);
  for (const Source& one : shards) {
    whole.header.started = std::min(whole.header.started, one.result.header.started);
    whole.footer.seconds += one.result.footer.seconds;
    whole.footer.longest_pass = std::max(whole.footer.longest_pass, one.result.footer.longest_pass);
    if (whole.header.device.find(one.result.header.device) == std::string::npos)
      whole.header.device += "; " + one.result.header.device;
    // Both are about the whole model, so every shard with a failure has them: the first one is taken.
    if (!whole.localisation) whole.localisation = one.result.localisation;
    if (!whole.diagnosis) whole.diagnosis = one.result.diagnosis;
  }
  for (std::size_t i = 0; i < whole.requirements.size(); ++i) whole.requirements[i] = looked_at(shards, i);
  conclude(whole);
  return whole;
}

Collection collect(std::vector<Source> sources) {
  Collection collection;
  for (Source& one : sources) {
    require_sound(one);
    collection.results.push_back(std::move(one.result));
  }
  if (const std::string why = discord(collection); !why.empty())
    throw InputError(fmt::format("report merge: {}; these results cannot stand beside each other", why));
  return collection;
}

std::vector<std::string> of_shard(const std::vector<std::string>& ids, const Shard& shard) {
  if (shard.index < 1 || shard.index > shard.of)
    throw InputError(fmt::format("--shard {}/{}: expected I/N with I from 1 to N", shard.index, shard.of));
  std::vector<std::string> ids_of_shard;
  for (std::size_t i = static_cast<std::size_t>(shard.index - 1); i < ids.size();
       i += static_cast<std::size_t>(shard.of))
    ids_of_shard.push_back(ids[i]);
  return ids_of_shard;
}

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char *begin = text.data(), *end = begin + text.size();
  const auto index = std::from_chars(begin, end, shard.index);
  const bool slash = index.ec == std::errc() && index.ptr != end && *index.ptr == '/';
  const auto of = slash ? std::from_chars(index.ptr + 1, end, shard.of) : index;
  if (!slash || of.ec != std::errc() || of.ptr != end || shard.index < 1 || shard.index > shard.of ||
      shard.of > 10'000)
    throw InputError(fmt::format(
        "--shard {}: expected I/N, as in 2/4, with I from 1 to N and N at most 10000", visible(text, 40)));
  return shard;
}

}  // namespace plumbline::reports
