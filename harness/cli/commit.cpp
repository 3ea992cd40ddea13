#include "harness/cli/commit.hpp"

#include <string>
#include <vector>

#include "harness/system/child.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

// Runs git so that it starts nothing that the repository configures: no hook, no file monitor, no transport
// for missing objects. For filters, see runs_filters().
ChildResult git(const std::filesystem::path& directory, const std::vector<std::string>& arguments) {
  std::vector<std::string> command{"git", "--no-optional-locks",      "-c", "core.fsmonitor=false",
                                   "-c",  "core.hooksPath=/dev/null", "-C", directory.string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  ChildLimits limits;
  limits.time = std::chrono::seconds(5);
  return run_child(
      command, limits,
      {{"GIT_TERMINAL_PROMPT", "0"}, {"GIT_NO_LAZY_FETCH", "1"}, {"GIT_ALLOW_PROTOCOL", "none"}});
}

// Whether the repository itself, and not its user, configures filters: git would run them to find what has
// changed. True, too, where git does not answer.
bool runs_filters(const std::filesystem::path& directory) {
  const auto found = git(directory, {"config", "--show-scope", "--includes", "--get-regexp", "^filter\\."});
  if (found.exit_code == 1 && found.output.empty()) return false;  // there are none
  const std::string lines = "\n" + found.output;
  for (const char* scope : {"\nlocal\tfilter.", "\nworktree\tfilter."})
    if (lines.find(scope) != std::string::npos) return true;
  return !found.succeeded();
}

}  // namespace

std::optional<reports::Commit> commit_of(const std::filesystem::path& path) try {
  std::error_code ignored;
  const auto whole = std::filesystem::absolute(path);
  const auto directory = std::filesystem::is_directory(whole, ignored) ? whole : whole.parent_path();
  const auto head = git(directory, {"rev-parse", "--verify", "HEAD"});
  const auto id = head.output.substr(0, head.output.find('\n'));
  if (!head.succeeded() || id.size() < 40 || id.find_first_not_of("0123456789abcdef") != std::string::npos)
    return std::nullopt;
  if (runs_filters(directory)) return std::nullopt;
  const auto changes =
      git(directory, {"status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"});
  if (!changes.succeeded()) return std::nullopt;
  return reports::Commit{id, changes.output.empty()};
} catch (const InputError&) {
  return std::nullopt;  // there is no git
}

}  // namespace plumbline
