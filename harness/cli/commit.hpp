// The git commit of files.
#pragma once

#include <filesystem>
#include <optional>

#include "harness/result/result.hpp"

namespace plumbline {

// The commit of the repository that contains the file or directory, and whether tracked files are unchanged.
// Empty where there is no repository or no git, or git does not answer within seconds.
std::optional<reports::Commit> commit_of(const std::filesystem::path& path);

}  // namespace plumbline
