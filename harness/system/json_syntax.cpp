// The text of JSON values, written and read. The library does what is delicate: escapes, numbers, and the
// grammar.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json_object.hpp"

namespace plumbline {

struct JsonText {
  const Json::Layout& layout;
  std::string& out;

  void line(int level) const {
    if (layout.indent < 0) return;
    out += '\n';
    out.append(static_cast<std::size_t>(level) * static_cast<std::size_t>(layout.indent), ' ');
  }

  void leaf(const nlohmann::json& value) const {
    const auto invalid =
        layout.replace ? nlohmann::json::error_handler_t::replace : nlohmann::json::error_handler_t::strict;
    try {
      out += value.dump(-1, ' ', layout.ascii, invalid);
    } catch (const nlohmann::json::exception&) {
      throw JsonError("expected a string in UTF-8");
    }
  }

  template <typename Range, typename Write>
  void list(char opening, char closing, const Range& range, int level, const Write& write) const {
    out += opening;
    bool first = true;
    for (const auto& one : range) {
      if (!std::exchange(first, false)) out += ',';
      line(level + 1);
      write(one);
    }
    if (!first) line(level);
    out += closing;
  }

  void member(const Json::Members::value_type& one, int level) const {
    leaf(one.first);
    out += layout.indent < 0 ? ":" : ": ";
    value(one.second, level);
  }

  void value(const Json& json, int level) const {
    switch (json.kind_) {
      case Json::Kind::null:
        return leaf(nullptr);
      case Json::Kind::boolean:
        return leaf(json.value_.boolean);
      case Json::Kind::integer:
        return leaf(json.value_.integer);
      case Json::Kind::unsigned_integer:
        return leaf(json.value_.unsigned_integer);
      case Json::Kind::real:
        return leaf(json.value_.real);
      case Json::Kind::text:
        return leaf(*json.value_.text);
      case Json::Kind::array:
        return list('[', ']', *json.value_.array, level, [&](const Json& one) { value(one, level + 1); });
      case Json::Kind::object: {
        const auto& object = *json.value_.object;
        if (layout.members == Json::Order::by_key)
          return list('{', '}', object.members, level, [&](const auto& one) { member(one, level + 1); });
        return list('{', '}', object.written, level, [&](const auto* one) { member(*one, level + 1); });
      }
    }
  }
};

std::string Json::dump() const {
  return dump(Layout{});
}

std::string Json::dump(const Layout& layout) const {
  std::string out;
  JsonText{layout, out}.value(*this, 0);
  return out;
}

std::ostream& operator<<(std::ostream& out, const Json& value) {
  return out << value.dump({.replace = true});
}

namespace {

constexpr std::size_t kMostLevels = 64;

// Builds the value itself: the library's own builder lets the last of two equal keys win, and the one with a
// callback takes quadratic time on an object of many objects.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(const std::string& where) : where_(where) {}
  Json result() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no such thing in text
  bool start_object(std::size_t) override { return begin_nested(Json::object()); }
  bool start_array(std::size_t) override { return begin_nested(Json::array()); }
  bool end_object() override { return end_nested(); }
  bool end_array() override { return end_nested(); }

  bool key(string_t& name) override {
    if (nested_.back()->contains(name)) {
      throw InputError(fmt::format("{}: the key \"{}\" stands twice in one object", where_, printable(name)));
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    std::string reason = error.what();
    for (const char* const before : {"] ", "column "}) {
      if (const auto at = reason.find(before); at != std::string::npos)
        reason.erase(0, at + std::string(before).size());
    }
    if (const auto at = reason.find(": "); at < 10) reason.erase(0, at + 2);
    throw InputError(fmt::format("{}: not valid JSON at byte {}: {}", where_, position, printable(reason)));
  }

 private:
  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  Json* place(Json value) {
    if (nested_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *nested_.back();
    if (!parent.is_array()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool begin_nested(Json value) {
    if (nested_.size() == kMostLevels) {
      throw InputError(fmt::format("{}: nested deeper than {} levels", where_, kMostLevels));
    }
    nested_.push_back(place(std::move(value)));
    return true;
  }

  bool end_nested() {
    nested_.pop_back();
    return true;
  }

  const std::string& where_;
  Json root_;
  // Pointers stay good: a parent gets no further member before its last one is closed.
  std::vector<Json*> nested_;
  std::string key_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& from) {
  const std::string where = printable(from, 1000);
  // The library takes a zero byte for the end of the text, and skips a byte order mark.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    throw InputError(fmt::format("{}: not valid JSON at byte {}: a zero byte", where, zero + 1));
  }
  if (text.starts_with("\xef\xbb\xbf")) {
    throw InputError(fmt::format("{}: begins with a byte order mark; save it as plain UTF-8", where));
  }
  Builder builder(where);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    throw InputError(fmt::format("{}: not valid JSON", where));
  }
  return builder.result();
}

}  // namespace plumbline
