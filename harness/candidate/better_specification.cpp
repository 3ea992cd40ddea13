#include "harness/candidate/better_specification.hpp"

#include <algorithm>
#include <set>

#include "harness/candidate/reference.hpp"

namespace plumbline {
namespace {

constexpr std::int64_t kFew = 1, kMany = 4;  // settings and parameters that are not the specification's

std::int64_t unlike(const Description& description, const Specification& specification) {
  std::int64_t count = 0;
  for (const auto& [key, setting] : specification_settings(specification, ""))
    if (const auto found = description.configuration.find(key); found != description.configuration.end())
      count += found->second.value == setting.value ? 0 : 1;
  const auto known = specification.parameters();
  for (const auto& parameter : description.parameters)
    count += std::any_of(known.begin(), known.end(),
                         [&](const ParameterShape& one) {
                           return one.name == parameter.name && one.shape == parameter.shape;
                         })
                 ? 0
                 : 1;
  return count;
}

}  // namespace

std::string better_specification(const Description& description, const Specification& claimed,
                                 const std::filesystem::path& folder) {
  const auto of_claimed = unlike(description, claimed);
  if (of_claimed < kMany || description.parameters.empty()) return {};
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".json") files.insert(entry.path());
  for (const auto& file : files) {
    const auto other = read_specification(file);
    if (other.name != claimed.name && unlike(description, other) <= kFew) return other.name;
  }
  return {};
}

}  // namespace plumbline
