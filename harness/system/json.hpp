// JSON values, independent of the library that reads and writes their text, which only one file compiles.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <map>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace plumbline {

// A value has another kind than requested, or lacks a member or element.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class JsonItem;

class Json {
 public:
  enum class Kind : std::uint8_t { null, boolean, integer, unsigned_integer, real, text, array, object };
  enum class Order : std::uint8_t { by_key, as_written };  // of an object's members
  struct Layout {
    int indent = -1;       // spaces a level; -1: one line without spaces
    bool ascii = false;    // escapes every character beyond ASCII
    bool replace = false;  // U+FFFD stands for what is not UTF-8; otherwise that is a JsonError
    Order members = Order::by_key;
  };
  using Array = std::vector<Json>;
  using Members = std::map<std::string, Json, std::less<>>;

  Json() = default;  // null
  Json(std::nullptr_t) {}
  template <std::same_as<bool> Boolean>
  Json(Boolean value) : kind_(Kind::boolean), value_{.boolean = value} {}
  template <std::signed_integral Integer>
  Json(Integer value) : kind_(Kind::integer), value_{.integer = value} {}
  template <std::unsigned_integral Integer>
  requires(!std::same_as<Integer, bool>) Json(Integer value)
      : kind_(Kind::unsigned_integer), value_{.unsigned_integer = value} {}
  template <std::floating_point Real>
  Json(Real value) : kind_(Kind::real), value_{.real = value} {}
  Json(std::string value);
  Json(std::string_view value) : Json(std::string(value)) {}
  Json(const char* value) : Json(std::string(value)) {}
  // An object where every item is a pair that begins with a text, else an array.
  Json(std::initializer_list<JsonItem> items);
  // Converts a vector or set to an array, a map to an object.
  template <std::ranges::input_range Range>
  requires(!std::convertible_to<Range, std::string> && !std::convertible_to<Range, std::string_view> &&
           !std::same_as<std::remove_cvref_t<Range>, Json>) Json(const Range& values) {
    if constexpr (requires { typename Range::mapped_type; }) {
      *this = object();
      for (const auto& [key, value] : values) (*this)[key] = value;
    } else {
      *this = array();
      for (const auto& value : values) push_back(value);
    }
  }
  static Json array();
  static Json array(std::initializer_list<JsonItem> items);
  static Json object();

  Json(const Json& other);
  Json(Json&& other) noexcept : kind_(std::exchange(other.kind_, Kind::null)), value_(other.value_) {}
  Json& operator=(Json other) noexcept;
  ~Json();

  Kind kind() const { return kind_; }
  bool is_null() const noexcept { return kind_ == Kind::null; }
  bool is_boolean() const noexcept { return kind_ == Kind::boolean; }
  bool is_integer() const noexcept { return kind_ == Kind::integer || kind_ == Kind::unsigned_integer; }
  bool is_unsigned() const noexcept;  // a whole number that is not negative
  bool is_integer_from(std::int64_t least, std::int64_t most) const noexcept;
  bool is_int64() const noexcept { return is_integer_from(INT64_MIN, INT64_MAX); }
  bool is_number() const noexcept { return is_integer() || kind_ == Kind::real; }
  bool is_string() const noexcept { return kind_ == Kind::text; }
  bool is_array() const noexcept { return kind_ == Kind::array; }
  bool is_object() const noexcept { return kind_ == Kind::object; }

  // The value as a bool, a number, a std::string or a std::vector of those. Errors: JsonError where it is of
  // another kind, or a number that the type cannot hold.
  template <typename Value>
  Value get() const {
    if constexpr (std::same_as<Value, bool>) {
      return boolean();
    } else if constexpr (std::signed_integral<Value>) {
      return static_cast<Value>(
          integer(std::numeric_limits<Value>::min(), std::numeric_limits<Value>::max()));
    } else if constexpr (std::unsigned_integral<Value>) {
      return static_cast<Value>(unsigned_integer(std::numeric_limits<Value>::max()));
    } else if constexpr (std::floating_point<Value>) {
      return static_cast<Value>(real());
    } else if constexpr (std::same_as<Value, std::string>) {
      return text();
    } else if constexpr (std::same_as<Value, Json>) {
      return *this;
    } else {
      Value all;
      for (const Json& one : elements()) all.push_back(one.get<typename Value::value_type>());
      return all;
    }
  }
  const std::string& text() const;

  // Arrays. Errors: JsonError where it is none, or there is no such element. Null becomes an array when
  // something is added.
  const Array& elements() const;
  Array::const_iterator begin() const;  // null has no elements
  Array::const_iterator end() const;
  Array::iterator begin();
  Array::iterator end();
  const Json& at(std::integral auto index) const { return element(static_cast<std::size_t>(index)); }
  Json& at(std::integral auto index) { return element(static_cast<std::size_t>(index)); }
  const Json& operator[](std::integral auto index) const { return element(static_cast<std::size_t>(index)); }
  Json& operator[](std::integral auto index) { return element(static_cast<std::size_t>(index)); }
  const Json& front() const { return element(0); }
  const Json& back() const { return element(size() - 1); }
  Json& back() { return element(size() - 1); }
  void push_back(Json value);

  // Objects. Errors: JsonError where it is none, or there is no such member.
  const Members& items() const;                  // by key
  std::vector<std::string> keys() const;         // as written
  const Json* find(std::string_view key) const;  // null where there is none, and for what is no object
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  const Json& at(std::string_view key) const;
  Json& at(std::string_view key);
  const Json& operator[](std::string_view key) const { return at(key); }
  Json& operator[](std::string_view key);  // is added where there is none; null becomes an object
  template <typename Value>
  Value value(std::string_view key, Value otherwise) const {
    const Json* const found = (items(), find(key));
    return found != nullptr ? found->get<Value>() : otherwise;
  }
  std::string value(std::string_view key, const char* otherwise) const {
    return value(key, std::string(otherwise));
  }
  void erase(std::string_view key);
  void erase(std::integral auto index) { erase_element(static_cast<std::size_t>(index)); }
  void update(const Json& other);  // with all members of that

  std::size_t size() const;  // elements or members; 0 of null, 1 of a single value
  bool empty() const { return size() == 0; }

  std::string dump() const;  // one line
  std::string dump(const Layout& layout) const;

  // The same value: numbers by what they are, members in any order.
  friend bool operator==(const Json& one, const Json& other) { return one.equals(other); }

 private:
  struct Object;
  friend struct JsonText;
  union Value {
    bool boolean;
    std::int64_t integer;
    std::uint64_t unsigned_integer;
    double real;
    std::string* text;
    Array* array;
    Object* object;
  };

  [[noreturn]] void refuse(std::string_view wanted) const;
  bool boolean() const;
  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  std::uint64_t unsigned_integer(std::uint64_t most) const;
  double real() const;
  Array& array_or(Array& otherwise);
  const Json& element(std::size_t index) const;
  Json& element(std::size_t index);
  void erase_element(std::size_t index);
  bool equals(const Json& other) const;

  Kind kind_ = Kind::null;
  Value value_ = {.integer = 0};
};

// An item of an initializer list: a value, or a nested list.
class JsonItem {
 public:
  template <typename Given>
  requires(!std::same_as<std::remove_cvref_t<Given>, JsonItem> && std::constructible_from<Json, Given>)
      JsonItem(Given&& value)
      : value_(std::forward<Given>(value)) {}
  JsonItem(std::initializer_list<JsonItem> items) : value_(items) {}

  const Json& get() const { return value_; }
  Json release() const { return std::move(value_); }

 private:
  mutable Json value_;  // moved out once, since initializer lists are constant
};

std::ostream& operator<<(std::ostream& out, const Json& value);

// Strict: one value and nothing after it, valid UTF-8 without a byte order mark, no key twice in one object,
// at most 64 levels of arrays and objects. `where` (a file, or a file and the object in it) begins the
// InputError's message, which names the byte or the key.
Json parse_json(std::string_view text, const std::string& where);

}  // namespace plumbline
