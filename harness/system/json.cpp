#include "harness/system/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "harness/system/files.hpp"
#include "harness/system/json_object.hpp"

namespace plumbline {

namespace {

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
    Json pair = item.release();
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
  for (const JsonItem& item : items) made.value_.array->push_back(item.release());
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

}  // namespace plumbline
