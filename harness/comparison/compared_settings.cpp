#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

void CandidatePair::compare_configuration() {
  if (other == nullptr) return;
  const auto &first = one.description().configuration, &second = other->description().configuration;
  std::vector<std::string> alone;
  for (const auto& [key, setting] : first) {
    const auto found = second.find(key);
    if (found == second.end()) {
      alone.push_back(key);
      continue;
    }
    auto check = compare_text(key, found->second.value.dump(), setting.value.dump());
    check.within = same_value(found->second.value, setting.value);
    if (!check.within) check.note = fmt::format("{}, before {}", found->second.where, setting.where);
    record(std::move(check));
  }
  for (const auto& [key, setting] : second)
    if (!first.contains(key)) alone.push_back(key);
  if (!alone.empty()) {
    one.recorder().finding(fmt::format("stated by only one of the two: {}", fmt::join(alone, ", ")));
    // Running code shows what it does whether it is stated or not. A lone weight file states nothing, which
    // is no difference; the verdict says that there was nothing to compare.
    const bool lone_file =
        one.description().kind == "state_dict" || other->description().kind == "state_dict";
    if (!can("code") && !lone_file)
      one.recorder().not_assessed(
          fmt::format("only one of the two states {}, and what the other's loader assumes is not known",
                      fmt::join(alone, ", ")));
  }
  compare_unknown_settings();
}

void CandidatePair::compare_unknown_settings() {
  static const std::set<std::string> about_the_file{"_name_or_path", "transformers_version", "torch_dtype",
                                                    "dtype"};
  const auto &first = one.description().stated, &second = other->description().stated;
  if (!first.is_object() || !second.is_object()) return;
  // Keys that became known settings: "config.json: rope_parameters.rope_theta".
  std::set<std::string> used{"model_type",   "architectures", "bos_token_id", "eos_token_id",
                             "pad_token_id", "use_cache",     "rope_scaling", "initializer_range"};
  for (const auto* settings : {&one.description().configuration, &other->description().configuration})
    for (const auto& [key, setting] : *settings) {
      const auto begin = setting.where.rfind(": ");
      const auto name = begin == std::string::npos ? setting.where : setting.where.substr(begin + 2);
      used.insert(name.substr(0, name.find('.')));
    }
  std::set<std::string> keys, alone;
  for (const auto* settings : {&first, &second})
    for (const auto& [key, value] : settings->items())
      if (!about_the_file.contains(key)) keys.insert(key);
  for (const auto& key : keys) {
    if (!first.contains(key) || !second.contains(key)) {
      const auto& value = (first.contains(key) ? first : second)[key];
      if (!value.is_null() && value != false && !used.contains(key)) alone.insert(key);
      continue;
    }
    const auto shown = [&](const Json& value) { return printable(value.dump({.ascii = true}), 200); };
    auto check = compare_text(fmt::format("config.json: {}", printable(key, 60)), shown(second[key]),
                              shown(first[key]));
    check.within = same_value(second[key], first[key]);
    record(std::move(check));
  }
  if (alone.empty()) return;
  const auto names = printable(fmt::format("{}", fmt::join(alone, ", ")), 300);
  one.recorder().finding(fmt::format("in only one config.json: {}", names));
  one.recorder().not_assessed(
      fmt::format("only one config.json has {}, and the effect on the model is not known", names));
}

}  // namespace plumbline
