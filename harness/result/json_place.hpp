// Strict reading of a document that Plumbline wrote: each complaint says where it stands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "harness/system/error.hpp"
#include "harness/system/json.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {

// A value and where it stands: "out/result.json: requirements[3].verdict".
struct JsonPlace {
  const Json& value;
  std::string where;

  // Errors: InputError. So do all others where the value is not as they say.
  [[noreturn]] void refuse(const std::string& wrong) const;

  JsonPlace at(const char* key) const;

  void only(const std::set<std::string>& keys) const;  // an object with no other members

  template <typename Use>
  void each(Use use) const {
    if (!value.is_array()) refuse("is not an array");
    for (std::size_t i = 0; i < value.size(); ++i) use(JsonPlace{value[i], fmt::format("{}[{}]", where, i)});
  }

  std::string text() const;

  bool truth() const;

  template <typename Integer>
  Integer integer(Integer least = 0) const {
    const auto most = std::numeric_limits<Integer>::max();
    const bool fits = value.is_unsigned() ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(most)
                                          : value.is_integer();
    if (!fits || (value.get<std::int64_t>() < static_cast<std::int64_t>(least) && !value.is_unsigned())) {
      refuse(fmt::format("is {}, not a whole number from {} to {}", visible(value.dump(), 40), least, most));
    }
    return value.get<Integer>();
  }

  double number() const;  // which may be "nan", "inf" or "-inf"

  double seconds() const;

  std::optional<double> optional_number() const;
};

// At most `most` of what `read` makes of each entry.
template <typename Item, typename Read>
std::vector<Item> list_at(const JsonPlace& place, std::size_t most, Read read) {
  std::vector<Item> items;
  place.each([&](const JsonPlace& entry) {
    if (items.size() == most) place.refuse(fmt::format("has more than {} entries", most));
    items.push_back(read(entry));
  });
  return items;
}

}  // namespace plumbline::reports
