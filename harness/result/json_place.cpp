#include "harness/result/json_place.hpp"

namespace plumbline::reports {

void JsonPlace::refuse(const std::string& wrong) const {
  throw InputError(where + " " + wrong +
                   "; the document is damaged or was edited: run plumbline verify again");
}

JsonPlace JsonPlace::at(const char* key) const {
  const std::string name = (where.ends_with(": ") || where.empty() ? where : where + ".") + key;
  if (!value.is_object()) refuse("is not an object");
  const auto found = value.find(key);
  if (found == nullptr) JsonPlace{value, name}.refuse("is missing");
  return {*found, name};
}

void JsonPlace::only(const std::set<std::string>& keys) const {
  if (!value.is_object()) refuse("is not an object");
  for (const auto& [key, ignored] : value.items()) {
    if (!keys.contains(key)) refuse("has an unknown member " + visible(key, 60));
  }
}

std::string JsonPlace::text() const {
  if (!value.is_string()) refuse("is not a string");
  return value.get<std::string>();
}

bool JsonPlace::truth() const {
  if (!value.is_boolean()) refuse("is neither true nor false");
  return value.get<bool>();
}

double JsonPlace::number() const {
  if (value.is_number()) return value.get<double>();
  const double infinity = std::numeric_limits<double>::infinity();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return infinity;
  if (value == "-inf") return -infinity;
  refuse("is neither a number nor one of \"nan\", \"inf\", \"-inf\"");
}

double JsonPlace::seconds() const {
  const double read = number();
  if (!(read >= 0)) refuse(fmt::format("is {}, which is no duration", read));
  return read;
}

std::optional<double> JsonPlace::optional_number() const {
  return value.is_null() ? std::nullopt : std::optional<double>(number());
}

}  // namespace plumbline::reports
