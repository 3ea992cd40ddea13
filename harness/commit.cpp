#include "harness/commit.hpp"

#include <string>
#include <vector>

#include "harness/system/child.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

// Nothing that the repository configures is run: no hook, no monitor of files.
ChildResult git(const std::filesystem::path& directory, const std::vector<std::string>& arguments) {
  std::vector<std::string> command{"git", "--no-optional-locks",      "-c", "core.fsmonitor=false",
                                   "-c",  "core.hooksPath=/dev/null", "-C", directory.string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  ChildLimits limits;
  limits.time = std::chrono::seconds(5);
  return run_child(command, limits, {{"GIT_TERMINAL_PROMPT", "0"}});
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
  const auto changes = git(directory, {"status", "--porcelain", "--untracked-files=no"});
  if (!changes.succeeded()) return std::nullopt;
  return reports::Commit{id, changes.output.empty()};
} catch (const InputError&) {
  return std::nullopt;  // there is no git
}

}  // namespace plumbline
