#include "harness/result/waivers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

constexpr std::uint64_t largest_file = 1U << 20U;

std::string text_of(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == nullptr || !found->is_string())
    throw InputError(fmt::format("{}: expected \"{}\" to be a string", where, key));
  return found->get<std::string>();
}

Waiver waiver_of(const Json& object, const std::string& where) {
  if (!object.is_object()) throw InputError(where + ": expected an object");
  for (const auto& [key, ignored] : object.items())
    if (key != "requirement" && key != "reason" && key != "who" && key != "expires")
      throw InputError(fmt::format("{}: unknown member {}; a waiver has requirement, reason, who and expires",
                                   where, visible(key, 60)));
  return {text_of(object, "requirement", where), text_of(object, "reason", where),
          text_of(object, "who", where), text_of(object, "expires", where)};
}

}  // namespace

bool is_day(const std::string& text) {
  int year = 0, month = 0, day = 0;
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto read = [&](std::size_t first, std::size_t count, int& number) {
    const std::string digits = text.substr(first, count);
    const bool only_digits = digits.find_first_not_of("0123456789") == std::string::npos;
    return only_digits &&
           std::from_chars(digits.data(), digits.data() + digits.size(), number).ec == std::errc();
  };
  return read(0, 4, year) && read(5, 2, month) && read(8, 2, day) &&
         std::chrono::year_month_day(std::chrono::year(year),
                                     std::chrono::month(static_cast<unsigned>(month)),
                                     std::chrono::day(static_cast<unsigned>(day)))
             .ok();
}

std::string fault_of(const std::vector<Waiver>& waivers, const std::set<std::string>& requirements) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < waivers.size(); ++i) {
    const Waiver& one = waivers[i];
    const std::string id = visible(one.requirement, 40);
    if (!requirements.contains(one.requirement))
      return fmt::format("[{}].requirement is {}, which is no requirement", i, id);
    if (!seen.insert(one.requirement).second) return fmt::format("[{}] waives {} a second time", i, id);
    if (is_blank(one.reason)) return fmt::format("[{}].reason is empty: why may {} fail?", i, id);
    if (is_blank(one.who)) return fmt::format("[{}].who is empty: who answers for {}?", i, id);
    if (!is_day(one.expires))
      return fmt::format("[{}].expires is {}, which is no day; expected one like 2026-12-31", i,
                         visible(one.expires, 40));
  }
  return {};
}

std::vector<Waiver> read_waivers(const std::filesystem::path& file,
                                 const std::set<std::string>& requirements) {
  const std::string name = visible(file.string());
  const Json document = parse_json(read_text(file, largest_file), name);
  if (!document.is_object() || document.value("format", Json()) != "plumbline-waivers")
    throw InputError(name +
                     ": these are no waivers: expected an object with \"format\": \"plumbline-waivers\"");
  if (document.value("version", Json()) != 1)
    throw InputError(name + ": \"version\" is not 1, the only one that this program knows");
  const auto list = document.find("waivers");
  if (list == nullptr || !list->is_array() || document.size() != 3)
    throw InputError(name + ": expected \"format\", \"version\" and a list of \"waivers\", and nothing else");
  std::vector<Waiver> waivers;
  for (std::size_t i = 0; i < list->size(); ++i)
    waivers.push_back(waiver_of((*list)[i], fmt::format("{}: waivers[{}]", name, i)));
  if (const std::string why = fault_of(waivers, requirements); !why.empty())
    throw InputError(fmt::format("{}: waivers{}", name, why));
  return waivers;
}

}  // namespace plumbline::reports
