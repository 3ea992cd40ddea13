#include "harness/model/departures/departures.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "harness/model/departures/departure.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using departures::Departure;

const std::vector<Departure>& catalogue() {
  static const std::vector<Departure> all = [] {
    std::vector<Departure> joined;
    for (const auto chapter :
         {departures::configuration_departures, departures::parameter_departures,
          departures::attention_departures, departures::cache_departures, departures::rotation_departures,
          departures::block_departures, departures::mode_departures, departures::numerics_departures,
          departures::training_departures, departures::text_departures})
      joined.insert(joined.end(), chapter().begin(), chapter().end());
    return joined;
  }();
  return all;
}

}  // namespace

std::string nearest_names(const std::string& name, const std::vector<std::string>& known,
                          const std::string& otherwise) {
  std::vector<std::string> similar;
  for (const auto& candidate : known)
    if (!name.empty() && candidate.find(name) != std::string::npos) similar.push_back(candidate);
  return similar.empty() ? otherwise : fmt::format("did you mean {}?", fmt::join(similar, " or "));
}

std::vector<std::string> departure_names() {
  std::vector<std::string> names;
  for (const auto& departure : catalogue()) names.emplace_back(departure.name);
  return names;
}

namespace {

const Departure& find_departure(const std::string& name, const std::string& context) {
  const auto found = std::find_if(catalogue().begin(), catalogue().end(),
                                  [&](const Departure& departure) { return departure.name == name; });
  if (found == catalogue().end())
    throw InputError(
        fmt::format("defect:{}: no defect '{}'; {}", printable(context), printable(name),
                    nearest_names(name, departure_names(), "the known ones stand in fixtures/defects.json")));
  return *found;
}

ModelPart read_place(const std::string& text, const std::string& written) {
  ModelPart place;
  if (text == "training" || text == "evaluation")
    place.training = text == "training";
  else if (text == "cache" || text == "no-cache")
    place.cached = text == "cache";
  else if (text == "padded" || text == "unpadded")
    place.padded = text == "padded";
  else if (!text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos)
    place.layer = std::stoll(text);
  else
    throw InputError(fmt::format(
        "defect:{}: '{}' is no place; expected the number of a layer, training, evaluation, cache, "
        "no-cache, padded or unpadded",
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

// Departures of one formula apply from its inside out: what replaces a part of it, then what changes its
// inputs or results. Those that are not listed come first; of equals the catalogue's order holds.
constexpr std::pair<const char*, int> kOrder[] = {
    {"feed-forward-ungated", 1},  // what the unit is, then what it is given
    {"gate-up-swapped", 2},
    {"norm-centred", 1},  // after another place of eps
    {"norm-weight-ignored", 1},
    {"norm-one-plus-weight", 1},
    {"norm-over-tokens", 1},
    {"norm-bfloat16", 1},
    {"embedding-scaled", 1},  // a table with a limited norm is looked up, then
    {"token-0-is-padding", 1},
    {"gradient-not-through-embedding", 1},
    {"layers-shared", 1},  // reads one of them, whatever their order
    {"values-from-keys", 1},
    {"logits-bfloat16", 1},  // rounds what is capped
    {"logits-shifted", 1},
    {"logits-not-a-number", 1},
    {"repeat-one-gradient", 1},
    {"repeat-factor-fixed", 1},
    {"scale-missing", 1},  // whatever the scale is
    {"softmax-bfloat16", 1},
    {"softmax-off-by-one", 1},
    {"softmax-over-queries", 2},
    {"rotary-from-position-1", 1},  // positions, before they look up a table
    {"rotary-scaled", 1},
    {"rotary-backwards", 1},
    {"rotary-bfloat16-angles", 2},
    {"rotary-cos-sin-swapped", 3},  // cosines and sines of whatever the angles are
    {"rotary-keys-unrotated", 1},
    // A mask: which keys are later, what else is shown, what else is hidden, what padding is known.
    {"mask-none", 1},
    {"mask-none-in-training", 1},
    {"mask-none-in-prefill", 1},
    {"mask-none-with-ones", 1},
    {"mask-none-with-padding-mask", 1},
    {"cache-reads-unwritten", 2},
    {"mask-window-256", 3},
    {"mask-window-1024", 3},
    {"cache-window-64", 3},
    {"cache-dropped", 3},
    {"cache-window-256", 3},
    {"mask-of-first-row", 4},
    {"mask-padding-inverted", 4},
    {"cache-first-slot-empty", 4},
    {"mask-without-padding", 5},
    {"mask-without-padding-in-training", 5},
    {"mask-without-padding-alone", 5},
    // A loss: how it averages, which logit predicts which label, what labels there are.
    {"loss-over-ignored", 1},
    {"loss-sum", 1},
    {"loss-unshifted", 2},
    {"loss-shifted-twice", 2},
    {"loss-without-last", 3},
    {"loss-ignored-as-token-0", 3},
    {"loss-of-mask", 3},
    {"loss-without-token-0", 3},
    {"text-temperature-multiplied", 1},
    {"text-top-k-one-more", 1},
    {"text-top-p-stops-short", 1},
    {"text-penalty-divides-all", 1},
    {"text-penalty-per-occurrence", 1},
    {"text-penalty-not-on-prompt", 1},
    {"text-penalty-twice", 2},  // whatever is done with a penalty
    {"text-greedy-samples", 1},
    {"text-end-ignored", 1},
};

// Where each departure stands when several apply.
const std::map<std::string, std::pair<int, std::size_t>>& ranks() {
  static const auto all = [] {
    std::map<std::string, std::pair<int, std::size_t>> made;
    for (std::size_t i = 0; i < catalogue().size(); ++i) made[catalogue()[i].name] = {0, i};
    for (const auto& [name, order] : kOrder) made.at(name).first = order;
    return made;
  }();
  return all;
}

// The same departures in any order mean the same model.
void sort_departures(std::vector<ParsedDeparture>& departures) {
  const auto key = [](const ParsedDeparture& one) {
    return std::tuple(ranks().at(one.name), format_departure(one));
  };
  std::stable_sort(departures.begin(), departures.end(),
                   [&](const auto& one, const auto& other) { return key(one) < key(other); });
}

void apply(const Departure& departure, std::optional<double> number, DepartedModel& departed) {
  const auto value =
      departure.parameter && !number ? departure.parameter->default_value(departed.specification) : number;
  std::visit(
      [&](auto change) {
        if constexpr (std::is_invocable_v<decltype(change), Specification&>)
          change(departed.specification);
        else if constexpr (std::is_invocable_v<decltype(change), Specification&, double>)
          change(departed.specification, value.value());
        else if constexpr (std::is_invocable_v<decltype(change), DepartedModel&>)
          change(departed);
        else
          change(departed, value.value());
      },
      departure.apply);
}

bool changes_specification(const Departure& departure) {
  return departure.apply.index() == 0 || departure.apply.index() == 2;
}

// The part of the model that belongs to both; empty where they are disjoint.
std::optional<ModelPart> intersection(ModelPart a, const ModelPart& b) {
  const auto join = [](auto& one, const auto& other) {
    if (one && other && one != other) return false;
    if (other) one = other;
    return true;
  };
  return join(a.layer, b.layer) && join(a.training, b.training) && join(a.cached, b.cached) &&
                 join(a.padded, b.padded)
             ? std::optional(a)
             : std::nullopt;
}

}  // namespace

ParsedDeparture parse_departure(const std::string& written, const std::string& context) {
  const auto& quoted = context.empty() ? written : context;
  ParsedDeparture parsed;
  const auto place = std::min(written.find('@'), written.size());
  const auto number = std::min(written.find('='), place);
  parsed.name = written.substr(0, number);
  const auto& departure = find_departure(parsed.name, quoted);
  if (number < place) {
    if (!departure.parameter)
      throw InputError(
          fmt::format("defect:{}: '{}' has no number to be given", printable(quoted), parsed.name));
    parsed.number = read_number(written.substr(number + 1, place - number - 1), quoted);
  }
  if (place < written.size()) parsed.place = read_place(written.substr(place + 1), quoted);
  return parsed;
}

std::string format_departure(const ParsedDeparture& departure) {
  std::string written = departure.name;
  const auto& place = departure.place;
  if (departure.number) written += fmt::format("={}", *departure.number);
  if (place.layer) written += fmt::format("@{}", *place.layer);
  if (place.training) written += *place.training ? "@training" : "@evaluation";
  if (place.cached) written += *place.cached ? "@cache" : "@no-cache";
  if (place.padded) written += *place.padded ? "@padded" : "@unpadded";
  return written;
}

std::string describe(const ModelPart& place) {
  if (place.layer) return fmt::format(", in layer {} alone", *place.layer);
  if (place.training) return *place.training ? ", in training mode alone" : ", in evaluation mode alone";
  if (place.cached) return *place.cached ? ", with a cache alone" : ", without a cache alone";
  if (place.padded) return *place.padded ? ", with padding alone" : ", without padding alone";
  return "";
}

std::string describe(const DepartureParameter& parameter, const std::string& value) {
  return fmt::format(fmt::runtime(parameter.clause), value);
}

const DepartureParameter* departure_parameter(const std::string& name) {
  const auto& departure = find_departure(name, name);
  return departure.parameter ? &*departure.parameter : nullptr;
}

namespace {

std::vector<ParsedDeparture> parse_departures(const std::string& names) {
  std::vector<ParsedDeparture> parsed;
  for (std::size_t begin = 0; begin <= names.size();) {
    const auto end = std::min(names.find('+', begin), names.size());
    parsed.push_back(parse_departure(names.substr(begin, end - begin), names));
    begin = end + 1;
  }
  sort_departures(parsed);
  return parsed;
}

}  // namespace

DepartedModel apply_departures(const Specification& specification, const std::string& names) {
  const auto parsed = parse_departures(names);
  // Applies the departures that hold in all of a place.
  const auto departures_in = [&](const ModelPart& place) {
    DepartedModel departed{specification, {}};
    for (const auto& one : parsed) {
      if (intersection(place, one.place) != place) continue;
      const auto& departure = find_departure(one.name, names);
      const auto before = departed.specification;
      apply(departure, one.number, departed);
      const auto idle = [&](const std::string& why) {
        if (one.place == place)
          departed.idle.push_back(fmt::format("{} changes nothing here: {}", one.name, why));
      };
      if (changes_specification(departure)) {
        if (departed.specification == before) idle("the model is like that already");
      } else if (const auto* why = departure.idle != nullptr ? departure.idle(before) : nullptr) {
        idle(why);
      }
    }
    return departed;
  };
  auto departed = departures_in({});
  require_possible(departed.specification, "defect:" + names);
  std::vector<ModelPart> places;
  for (const auto& one : parsed) {
    if (one.place == ModelPart{}) continue;
    if (one.place.layer && *one.place.layer >= departed.specification.num_hidden_layers)
      throw InputError(fmt::format("defect:{}: there is no layer {}; the last is {}", printable(names),
                                   *one.place.layer, departed.specification.num_hidden_layers - 1));
    // Where two places intersect, both departures hold.
    std::vector<ModelPart> new_places{one.place};
    for (const auto& place : places)
      if (const auto shared = intersection(place, one.place)) new_places.push_back(*shared);
    for (const auto& place : new_places)
      if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
  }
  const auto restrictions = [](const ModelPart& place) {
    return place.layer.has_value() + place.training.has_value() + place.cached.has_value() +
           place.padded.has_value();
  };
  std::stable_sort(places.begin(), places.end(),
                   [&](const ModelPart& a, const ModelPart& b) { return restrictions(a) > restrictions(b); });
  std::vector<std::pair<ModelPart, Rules>> parts;
  for (const auto& place : places) {
    auto local = departures_in(place);
    require_possible(local.specification, "defect:" + names);
    if (local.specification.parameters() != departed.specification.parameters())
      throw InputError(fmt::format("defect:{}: another shape is one of the whole model and cannot be{}",
                                   printable(names), describe(place).substr(1)));
    departed.idle.insert(departed.idle.end(), local.idle.begin(), local.idle.end());
    parts.push_back({place, {std::move(local.specification), std::move(local.formulas)}});
  }
  if (!parts.empty()) departed.overrides = std::make_shared<LocalDepartures>(std::move(parts));
  return departed;
}

}  // namespace plumbline
