#include "reports/rerun.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>
#include <vector>

namespace plumbline::reports {
namespace {

// Splits a command as a shell does; quotes are kept.
std::vector<std::string> words_of(const std::string& command) {
  std::vector<std::string> found(1);
  bool quoted = false;
  for (std::size_t i = 0; i < command.size(); ++i) {
    const char character = command[i];
    if (!quoted && character == '\\' && i + 1 < command.size()) {
      found.back() += command.substr(i++, 2);
      continue;
    }
    if (character == '\'') quoted = !quoted;
    if (character == ' ' && !quoted) {
      if (!found.back().empty()) found.emplace_back();
    } else {
      found.back() += character;
    }
  }
  if (found.back().empty()) found.pop_back();
  return found;
}

bool is_of_verify(const Header& header) {
  const std::vector<std::string> words = words_of(header.command);
  return words.size() > 1 && words[1] == "verify" && !header.baseline;
}

}  // namespace

std::string command_without(const std::string& command, const std::set<std::string>& options) {
  std::vector<std::string> kept;
  bool value_follows = false;
  for (const std::string& word : words_of(command)) {
    const bool is_value = std::exchange(value_follows, false);
    if (is_value) continue;
    value_follows = options.contains(word);
    if (!value_follows && !options.contains(word.substr(0, word.find('=')))) kept.push_back(word);
  }
  return fmt::format("{}", fmt::join(kept, " "));
}

std::string command_for(const Header& header, int chapter) {
  if (!is_of_verify(header)) return header.command;
  return command_without(header.command, {"--only", "--out", "--shard"}) +
         fmt::format(" --only {0} --out out/chapter-{0}", chapter);
}

std::string for_candidate(const Header& header, const std::string& advice) {
  const std::string placeholder = "plumbline verify MODEL";
  const bool is_users_model = header.candidate_kind != "reference" && is_of_verify(header) &&
                              header.command.find('`') == std::string::npos && header.command.size() <= 300;
  if (!is_users_model) return advice;
  const std::string command = command_without(header.command, {"--only", "--out", "--shard"});
  std::string rewritten;
  std::size_t from = 0;
  for (std::size_t at = 0; (at = advice.find(placeholder, from)) != std::string::npos;
       from = at + placeholder.size())
    rewritten += advice.substr(from, at - from) + command;
  return rewritten + advice.substr(from);
}

}  // namespace plumbline::reports
