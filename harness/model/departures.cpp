#include "harness/model/departures.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <variant>

#include "harness/model/departure.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using departing::Departure;

const std::vector<Departure>& catalogue() {
  static const std::vector<Departure> all = [] {
    std::vector<Departure> joined;
    for (const auto& part : {departing::of_parameters_and_attention(), departing::of_cache_and_rotation(),
                             departing::of_blocks_and_modes(), departing::of_training_and_text()})
      joined.insert(joined.end(), part.begin(), part.end());
    return joined;
  }();
  return all;
}

}  // namespace

std::string nearest_names(const std::string& name, const std::vector<std::string>& known,
                          const std::string& otherwise) {
  std::vector<std::string> near;
  for (const auto& one : known)
    if (!name.empty() && one.find(name) != std::string::npos) near.push_back(one);
  return near.empty() ? otherwise : fmt::format("did you mean {}?", fmt::join(near, " or "));
}

std::vector<std::string> departure_names() {
  std::vector<std::string> names;
  for (const auto& departure : catalogue()) names.emplace_back(departure.name);
  return names;
}

Departed depart(const Specification& specification, const std::string& names) {
  Departed departed{specification, {}};
  for (std::size_t begin = 0; begin <= names.size();) {
    const auto end = std::min(names.find('+', begin), names.size());
    const auto name = names.substr(begin, end - begin);
    const auto found = std::find_if(catalogue().begin(), catalogue().end(),
                                    [&](const Departure& departure) { return departure.name == name; });
    if (found == catalogue().end())
      throw InputError(fmt::format(
          "defect:{}: no defect '{}'; {}", printable(names), printable(name),
          nearest_names(name, departure_names(), "the known ones stand in fixtures/defects.json")));
    const auto before = departed.specification;
    if (const auto* change = std::get_if<void (*)(Specification&)>(&found->apply)) {
      (*change)(departed.specification);
      if (departed.specification == before)
        departed.idle.push_back(fmt::format("{} changes nothing here: the model is like that already", name));
    } else {
      std::get<void (*)(Departed&)>(found->apply)(departed);
      if (const auto* why = found->idle != nullptr ? found->idle(before) : nullptr)
        departed.idle.push_back(fmt::format("{} changes nothing here: {}", name, why));
    }
    begin = end + 1;
  }
  require_possible(departed.specification, "defect:" + names);
  return departed;
}

}  // namespace plumbline
