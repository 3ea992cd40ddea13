#include "harness/model/departures/departures.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <variant>

#include "harness/model/departures/departure.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using departing::Departure;

const std::vector<Departure>& catalogue() {
  static const std::vector<Departure> all = [] {
    std::vector<Departure> joined;
    for (const auto chapter :
         {departing::of_configuration, departing::of_parameters, departing::of_attention, departing::of_cache,
          departing::of_rotation, departing::of_blocks, departing::of_modes, departing::of_numerics,
          departing::of_training, departing::of_text})
      joined.insert(joined.end(), chapter().begin(), chapter().end());
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

namespace {

const Departure& departure_of(const std::string& name, const std::string& among) {
  const auto found = std::find_if(catalogue().begin(), catalogue().end(),
                                  [&](const Departure& departure) { return departure.name == name; });
  if (found == catalogue().end())
    throw InputError(
        fmt::format("defect:{}: no defect '{}'; {}", printable(among), printable(name),
                    nearest_names(name, departure_names(), "the known ones stand in fixtures/defects.json")));
  return *found;
}

ModelPart read_place(const std::string& text, const std::string& written) {
  ModelPart place;
  if (text == "training" || text == "evaluation")
    place.training = text == "training";
  else if (text == "cache" || text == "no-cache")
    place.cached = text == "cache";
  else if (!text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos)
    place.layer = std::stoll(text);
  else
    throw InputError(fmt::format(
        "defect:{}: '{}' is no place; expected the number of a layer, training, evaluation, cache or "
        "no-cache",
        printable(written), printable(text)));
  return place;
}

double read_number(const std::string& text, const std::string& written) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(number))
    throw InputError(fmt::format("defect:{}: '{}' is no number", printable(written), printable(text)));
  return number;
}

void apply(const Departure& departure, std::optional<double> number, Departed& departed) {
  const auto value = departure.number && !number ? departure.number->usual(departed.specification) : number;
  std::visit(
      [&](auto change) {
        if constexpr (std::is_invocable_v<decltype(change), Specification&>)
          change(departed.specification);
        else if constexpr (std::is_invocable_v<decltype(change), Specification&, double>)
          change(departed.specification, value.value());
        else if constexpr (std::is_invocable_v<decltype(change), Departed&>)
          change(departed);
        else
          change(departed, value.value());
      },
      departure.apply);
}

bool changes_numbers(const Departure& departure) {
  return departure.apply.index() == 0 || departure.apply.index() == 2;
}

// Where both hold; empty where nothing is both.
std::optional<ModelPart> both(ModelPart a, const ModelPart& b) {
  const auto join = [](auto& one, const auto& other) {
    if (one && other && one != other) return false;
    if (other) one = other;
    return true;
  };
  return join(a.layer, b.layer) && join(a.training, b.training) && join(a.cached, b.cached) ? std::optional(a)
                                                                                            : std::nullopt;
}

}  // namespace

WrittenDeparture read_departure(const std::string& written, const std::string& among) {
  const auto& whole = among.empty() ? written : among;
  WrittenDeparture read;
  const auto place = std::min(written.find('@'), written.size());
  const auto number = std::min(written.find('='), place);
  read.name = written.substr(0, number);
  const auto& departure = departure_of(read.name, whole);
  if (number < place) {
    if (!departure.number)
      throw InputError(fmt::format("defect:{}: '{}' has no number to be given", printable(whole), read.name));
    read.number = read_number(written.substr(number + 1, place - number - 1), whole);
  }
  if (place < written.size()) read.place = read_place(written.substr(place + 1), whole);
  return read;
}

std::string write_departure(const WrittenDeparture& departure) {
  std::string written = departure.name;
  const auto& place = departure.place;
  if (departure.number) written += fmt::format("={}", *departure.number);
  if (place.layer) written += fmt::format("@{}", *place.layer);
  if (place.training) written += *place.training ? "@training" : "@evaluation";
  if (place.cached) written += *place.cached ? "@cache" : "@no-cache";
  return written;
}

std::string describe(const ModelPart& place) {
  if (place.layer) return fmt::format(", in layer {} alone", *place.layer);
  if (place.training) return *place.training ? ", in training mode alone" : ", in evaluation mode alone";
  if (place.cached) return *place.cached ? ", with a cache alone" : ", without a cache alone";
  return "";
}

std::string describe(const DepartureNumber& number, const std::string& value) {
  return fmt::format(fmt::runtime(number.clause), value);
}

const DepartureNumber* number_of(const std::string& name) {
  const auto& departure = departure_of(name, name);
  return departure.number ? &*departure.number : nullptr;
}

Departed depart(const Specification& specification, const std::string& names) {
  std::vector<WrittenDeparture> written;
  for (std::size_t begin = 0; begin <= names.size();) {
    const auto end = std::min(names.find('+', begin), names.size());
    written.push_back(read_departure(names.substr(begin, end - begin), names));
    begin = end + 1;
  }
  // All that hold in the whole of a place.
  const auto holding_in = [&](const ModelPart& place) {
    Departed departed{specification, {}};
    for (const auto& one : written) {
      if (both(place, one.place) != place) continue;
      const auto& departure = departure_of(one.name, names);
      const auto before = departed.specification;
      apply(departure, one.number, departed);
      const auto idle = [&](const std::string& why) {
        if (one.place == place)
          departed.idle.push_back(fmt::format("{} changes nothing here: {}", one.name, why));
      };
      if (changes_numbers(departure)) {
        if (departed.specification == before) idle("the model is like that already");
      } else if (const auto* why = departure.idle != nullptr ? departure.idle(before) : nullptr) {
        idle(why);
      }
    }
    return departed;
  };
  auto departed = holding_in({});
  require_possible(departed.specification, "defect:" + names);
  std::vector<ModelPart> places;
  for (const auto& one : written) {
    if (one.place == ModelPart{}) continue;
    if (one.place.layer && *one.place.layer >= departed.specification.num_hidden_layers)
      throw InputError(fmt::format("defect:{}: there is no layer {}; the last is {}", printable(names),
                                   *one.place.layer, departed.specification.num_hidden_layers - 1));
    // Where two places meet, what holds in both.
    std::vector<ModelPart> more{one.place};
    for (const auto& place : places)
      if (const auto shared = both(place, one.place)) more.push_back(*shared);
    for (const auto& place : more)
      if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
  }
  const auto given = [](const ModelPart& place) {
    return place.layer.has_value() + place.training.has_value() + place.cached.has_value();
  };
  std::stable_sort(places.begin(), places.end(),
                   [&](const ModelPart& a, const ModelPart& b) { return given(a) > given(b); });
  std::vector<std::pair<ModelPart, Rules>> parts;
  for (const auto& place : places) {
    auto there = holding_in(place);
    require_possible(there.specification, "defect:" + names);
    if (there.specification.parameters() != departed.specification.parameters())
      throw InputError(fmt::format("defect:{}: another shape is one of the whole model and cannot be{}",
                                   printable(names), describe(place).substr(1)));
    departed.idle.insert(departed.idle.end(), there.idle.begin(), there.idle.end());
    parts.push_back({place, {std::move(there.specification), std::move(there.formulas)}});
  }
  if (!parts.empty()) departed.local = std::make_shared<LocalDepartures>(std::move(parts));
  return departed;
}

}  // namespace plumbline
