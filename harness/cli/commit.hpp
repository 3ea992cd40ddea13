// What state of a git repository somebody's files are.
#pragma once

#include <filesystem>
#include <optional>

#include "harness/result/result.hpp"

namespace plumbline {

// Of the repository in which the file or directory lies: its commit, and whether nothing that it tracks was
// changed since. Empty where there is none, or no git to ask, or no answer within seconds.
std::optional<reports::Commit> commit_of(const std::filesystem::path& path);

}  // namespace plumbline
