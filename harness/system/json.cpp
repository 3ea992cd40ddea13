#include "harness/system/json.hpp"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using nlohmann::json;

constexpr std::size_t most_levels = 64;

// Builds the value itself: the library's own builder lets the last of two equal keys win, and the one with a
// callback takes quadratic time on an object of many objects.
class Builder : public nlohmann::json_sax<json> {
 public:
  explicit Builder(const std::string& where) : where_(where) {}
  json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no such thing in text
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
      throw InputError(fmt::format("{}: the key \"{}\" stands twice in one object", where_, printable(name)));
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& error) override {
    std::string reason = error.what();
    for (const char* const before : {"] ", "column "}) {
      if (const auto at = reason.find(before); at != std::string::npos)
        reason.erase(0, at + std::string(before).size());
    }
    if (const auto at = reason.find(": "); at != std::string::npos && at < 10) reason.erase(0, at + 2);
    throw InputError(fmt::format("{}: not valid JSON at byte {}: {}", where_, position, printable(reason)));
  }

 private:
  bool add(json value) {
    place(std::move(value));
    return true;
  }

  json* place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *open_.back();
    if (!parent.is_array()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool open(json value) {
    if (open_.size() == most_levels) {
      throw InputError(fmt::format("{}: nested deeper than {} levels", where_, most_levels));
    }
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  json root_;
  // Pointers stay good: a parent gets no further member before its last one is closed.
  std::vector<json*> open_;
  std::string key_;
};

}  // namespace

json parse_json(std::string_view text, const std::string& from) {
  const std::string where = printable(from, 1000);
  // The library takes a zero byte for the end of the text, and skips a byte order mark.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    throw InputError(fmt::format("{}: not valid JSON at byte {}: a zero byte", where, zero + 1));
  }
  if (text.starts_with("\xef\xbb\xbf")) {
    throw InputError(fmt::format("{}: begins with a byte order mark; save it as plain UTF-8", where));
  }
  Builder builder(where);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    throw InputError(fmt::format("{}: not valid JSON", where));
  }
  return builder.take();
}

}  // namespace plumbline
