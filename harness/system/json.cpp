#include "harness/system/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

// A map, whose members stay where they are when another is added, and the order in which they came.
struct Json::Object {
  Members members;
  std::vector<const Members::value_type*> written;

  Object() = default;
  Object(const Object& other) : members(other.members) {
    written.reserve(other.written.size());
    for (const auto* member : other.written) written.push_back(&*members.find(member->first));
  }
  Object& operator=(const Object&) = delete;

  // The member of that name, and whether it is new.
  std::pair<Json*, bool> add(std::string key) {
    const auto [at, is_new] = members.try_emplace(std::move(key));
    if (is_new) written.push_back(&*at);
    return {&at->second, is_new};
  }
};

namespace {

constexpr std::size_t most_levels = 64;

const char* name_of(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::null:
      return "null";
    case Json::Kind::boolean:
      return "a boolean";
    case Json::Kind::integer:
    case Json::Kind::unsigned_integer:
      return "an integer";
    case Json::Kind::real:
      return "a number";
    case Json::Kind::text:
      return "a string";
    case Json::Kind::array:
      return "an array";
    case Json::Kind::object:
      return "an object";
  }
  return "";
}

bool is_member(const Json& item) {
  return item.is_array() && item.size() == 2 && item[0].is_string();
}

}  // namespace

Json::Json(std::string value) : kind_(Kind::text), value_{.text = new std::string(std::move(value))} {}

Json::Json(std::initializer_list<JsonItem> items) {
  const bool is_object =
      std::all_of(items.begin(), items.end(), [](const JsonItem& item) { return is_member(item.get()); });
  if (!is_object) {
    *this = array(items);
    return;
  }
  *this = object();
  for (const JsonItem& item : items) {
    Json pair = item.take();
    const auto [member, is_new] = value_.object->add(std::move(*pair[0].value_.text));
    if (is_new) *member = std::move(pair[1]);
  }
}

Json Json::array() {
  Json made;
  made.value_.array = new Array;
  made.kind_ = Kind::array;
  return made;
}

Json Json::array(std::initializer_list<JsonItem> items) {
  Json made = array();
  made.value_.array->reserve(items.size());
  for (const JsonItem& item : items) made.value_.array->push_back(item.take());
  return made;
}

Json Json::object() {
  Json made;
  made.value_.object = new Object;
  made.kind_ = Kind::object;
  return made;
}

Json::Json(const Json& other) : value_(other.value_) {
  if (other.kind_ == Kind::text) value_.text = new std::string(*other.value_.text);
  if (other.kind_ == Kind::array) value_.array = new Array(*other.value_.array);
  if (other.kind_ == Kind::object) value_.object = new Object(*other.value_.object);
  kind_ = other.kind_;
}

Json& Json::operator=(Json other) noexcept {
  std::swap(kind_, other.kind_);
  std::swap(value_, other.value_);
  return *this;
}

Json::~Json() {
  if (kind_ == Kind::text) delete value_.text;
  if (kind_ == Kind::array) delete value_.array;
  if (kind_ == Kind::object) delete value_.object;
}

void Json::refuse(std::string_view wanted) const {
  throw JsonError(fmt::format("expected {}, found {}", wanted, name_of(kind_)));
}

bool Json::is_integer_from(std::int64_t least, std::int64_t most) const noexcept {
  if (kind_ == Kind::integer) return value_.integer >= least && value_.integer <= most;
  return kind_ == Kind::unsigned_integer && most >= 0 &&
         value_.unsigned_integer <= static_cast<std::uint64_t>(most) && value_.integer >= least;
}

bool Json::is_unsigned() const noexcept {
  return kind_ == Kind::unsigned_integer || (kind_ == Kind::integer && value_.integer >= 0);
}

bool Json::boolean() const {
  if (kind_ != Kind::boolean) refuse("a boolean");
  return value_.boolean;
}

std::int64_t Json::integer(std::int64_t least, std::int64_t most) const {
  if (!is_integer()) refuse("an integer");
  if (!is_integer_from(least, most))
    throw JsonError(fmt::format("expected an integer from {} to {}, found {}", least, most, dump()));
  return value_.integer;
}

std::uint64_t Json::unsigned_integer(std::uint64_t most) const {
  if (!is_integer()) refuse("an integer");
  if (!is_unsigned() || value_.unsigned_integer > most)
    throw JsonError(fmt::format("expected an integer from 0 to {}, found {}", most, dump()));
  return value_.unsigned_integer;
}

double Json::real() const {
  if (kind_ == Kind::integer) return static_cast<double>(value_.integer);
  if (kind_ == Kind::unsigned_integer) return static_cast<double>(value_.unsigned_integer);
  if (kind_ != Kind::real) refuse("a number");
  return value_.real;
}

const std::string& Json::text() const {
  if (kind_ != Kind::text) refuse("a string");
  return *value_.text;
}

const Json::Array& Json::elements() const {
  if (kind_ != Kind::array) refuse("an array");
  return *value_.array;
}

namespace {
Json::Array nothing;  // stays empty: the elements of null
}

Json::Array::const_iterator Json::begin() const {
  return is_null() ? nothing.begin() : elements().begin();
}
Json::Array::const_iterator Json::end() const {
  return is_null() ? nothing.end() : elements().end();
}
Json::Array::iterator Json::begin() {
  return array_or(nothing).begin();
}
Json::Array::iterator Json::end() {
  return array_or(nothing).end();
}

Json::Array& Json::array_or(Array& otherwise) {
  if (is_null()) return otherwise;
  static_cast<void>(elements());
  return *value_.array;
}

const Json& Json::element(std::size_t index) const {
  if (index >= elements().size())
    throw JsonError(fmt::format("expected an element {}, found {} of them", index, elements().size()));
  return (*value_.array)[index];
}

Json& Json::element(std::size_t index) {
  return const_cast<Json&>(std::as_const(*this).element(index));
}

void Json::push_back(Json value) {
  if (is_null()) *this = array();
  static_cast<void>(elements());
  value_.array->push_back(std::move(value));
}

void Json::erase_element(std::size_t index) {
  static_cast<void>(element(index));
  value_.array->erase(value_.array->begin() + static_cast<std::ptrdiff_t>(index));
}

const Json::Members& Json::items() const {
  if (kind_ != Kind::object) refuse("an object");
  return value_.object->members;
}

std::vector<std::string> Json::keys() const {
  std::vector<std::string> all;
  if (kind_ != Kind::object) refuse("an object");
  for (const auto* member : value_.object->written) all.push_back(member->first);
  return all;
}

const Json* Json::find(std::string_view key) const {
  if (kind_ != Kind::object) return nullptr;
  const auto found = value_.object->members.find(key);
  return found == value_.object->members.end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view key) const {
  if (kind_ != Kind::object) refuse("an object");
  const Json* const found = find(key);
  if (found == nullptr) throw JsonError(fmt::format("expected a member '{}'", printable(key, 60)));
  return *found;
}

Json& Json::at(std::string_view key) {
  return const_cast<Json&>(std::as_const(*this).at(key));
}

Json& Json::operator[](std::string_view key) {
  if (is_null()) *this = object();
  if (kind_ != Kind::object) refuse("an object");
  return *value_.object->add(std::string(key)).first;
}

void Json::erase(std::string_view key) {
  const auto found = items().find(key);
  if (found == items().end()) return;
  std::erase(value_.object->written, &*found);
  value_.object->members.erase(found);
}

void Json::update(const Json& other) {
  for (const auto& key : other.keys()) (*this)[key] = other.at(key);
}

std::size_t Json::size() const {
  switch (kind_) {
    case Kind::null:
      return 0;
    case Kind::array:
      return value_.array->size();
    case Kind::object:
      return value_.object->members.size();
    default:
      return 1;
  }
}

bool Json::equals(const Json& other) const {
  if (is_number() && other.is_number()) {
    if (kind_ == Kind::real || other.kind_ == Kind::real) return real() == other.real();
    return is_unsigned() == other.is_unsigned() && value_.unsigned_integer == other.value_.unsigned_integer;
  }
  if (kind_ != other.kind_) return false;
  switch (kind_) {
    case Kind::boolean:
      return value_.boolean == other.value_.boolean;
    case Kind::text:
      return *value_.text == *other.value_.text;
    case Kind::array:
      return *value_.array == *other.value_.array;
    case Kind::object:
      return items() == other.items();
    default:
      return true;
  }
}

// Reading and writing. The library does what is delicate: escapes, numbers, and the grammar.
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

// Builds the value itself: the library's own builder lets the last of two equal keys win, and the one with a
// callback takes quadratic time on an object of many objects.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(const std::string& where) : where_(where) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no such thing in text
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
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
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (!parent.is_array()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool open(Json value) {
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
  Json root_;
  // Pointers stay good: a parent gets no further member before its last one is closed.
  std::vector<Json*> open_;
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
  return builder.take();
}

}  // namespace plumbline
