#include "harness/result/traits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/result/sentences.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

using Kind = Trait::Kind;

// {0}, {1}, ...: its numbers; {range}: two of them, or one where they read alike; {axis}; {list}: all of its
// numbers.
struct Entry {
  Kind kind;
  const char* name;
  std::size_t numbers;
  const char *english, *chinese;
};

constexpr std::array kTable = {
    Entry{Kind::confined, "confined", 0, "wrong only at {axis} {list}", "只有{axis} {list} 有误"},
    Entry{Kind::not_a_number, "not a number", 1, "{0} of its elements are NaN or infinite",
          "有 {0} 个元素是 NaN 或无穷"},
    Entry{Kind::zero, "zero", 0, "all of it is 0", "全部为 0"},
    Entry{Kind::factor, "factor", 1, "each element is {0} times what its inputs call for",
          "每个元素都是应有值的 {0} 倍"},
    Entry{Kind::factor_each, "factor each", 2, "each {axis} is multiplied by a number of its own: {range}",
          "每个{axis}各乘了一个数：{range}"},
    Entry{Kind::offset, "offset", 1, "{0} is added to each element", "每个元素都加了 {0}"},
    Entry{Kind::bfloat16, "bfloat16", 0, "it is rounded to bfloat16", "它被舍入成 bfloat16"},
    Entry{Kind::float16, "float16", 0, "it is rounded to float16", "它被舍入成 float16"},
    Entry{Kind::limited, "limited", 2, "no element is beyond {0}, where they should reach {1}",
          "没有元素超过 {0}，而本应达到 {1}"},
    Entry{Kind::combination, "combination", 2,
          "it is {0} times the residual stream plus {1} times what is added to it",
          "它是残差流的 {0} 倍加上所加内容的 {1} 倍"},
    Entry{Kind::sums, "sums", 2, "the probabilities of a query add up to {range}",
          "一个查询的概率之和为 {range}"},
    Entry{Kind::activation, "activation", 4,
          "it is up times another function of gate, in which {0} becomes {1}, and {2} becomes {3}",
          "它是 up 乘以 gate 的另一个函数：{0} 变成 {1}，{2} 变成 {3}"},
    Entry{Kind::function, "function", 4,
          "each element depends on its own right value alone: {0} becomes {1}, {2} becomes {3}",
          "每个元素只取决于它自己的应有值：{0} 变成 {1}，{2} 变成 {3}"},
    Entry{Kind::heads_reordered, "heads reordered", 0, "its heads are in another order: {list}",
          "各头的顺序不同：{list}"},
    Entry{
        Kind::moved, "moved", 1,
        "each position holds what belongs to an earlier one, at a distance of {0} (negative: to a later one)",
        "每个位置上是它之前距离为 {0} 的位置的内容（负数表示之后）"},
    Entry{Kind::joined, "joined", 0, "its heads are joined coordinate by coordinate, not one after another",
          "各头是逐坐标拼接的，而不是一个接一个"},
    Entry{Kind::turned, "turned", 2,
          "it is turned as if its position were larger by {range} (negative: smaller)",
          "它按大 {range} 的位置来旋转（负数表示更小）"},
    Entry{Kind::not_turned, "not turned", 0, "it is not turned at all", "它完全没有旋转"},
    Entry{Kind::sees_later, "sees later", 1, "queries see later keys, up to a distance of {0}",
          "查询看得到后面的键，距离最多 {0}"},
    Entry{Kind::sees_hidden, "sees hidden", 1, "queries see keys that are hidden from them: {0}",
          "查询看得到本应屏蔽的键：{0} 个"},
    Entry{Kind::misses, "misses", 2, "queries do not see keys at a distance of {range} before them",
          "查询看不到前面距离为 {range} 的键"},
};

const Entry& entry_of(Kind kind) {
  for (const auto& entry : kTable)
    if (entry.kind == kind) return entry;
  return kTable[0];
}

const char* chinese_axis(const std::string& axis) {
  for (const auto& [name, chinese] :
       {std::pair{"row", "批次行"}, std::pair{"position", "位置"}, std::pair{"head", "头"},
        std::pair{"coordinate", "坐标"}, std::pair{"query", "查询"}, std::pair{"key", "键"},
        std::pair{"token", "词元"}})
    if (axis == name) return chinese;
  return "";
}

// "0 to 3, 7"
std::string list_of(const std::vector<double>& numbers, const char* to) {
  std::string list;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    list += list.empty() ? "" : ", ";
    list += last > i + 1 ? fmt::format("{}{}{}", number(numbers[i]), to, number(numbers[last]))
                         : number(numbers[i]);
    if (last == i + 1) --last;
    i = last + 1;
  }
  return list;
}

// `pattern`: of the table. `to`: what stands between the ends of a range.
std::string filled_in(const Trait& trait, const char* pattern, const std::string& axis, const char* to) {
  std::array<std::string, 4> numbers;
  for (std::size_t i = 0; i < std::min(numbers.size(), trait.numbers.size()); ++i)
    numbers[i] = number(trait.numbers[i]);
  const auto range = numbers[0] == numbers[1] ? numbers[0] : numbers[0] + to + numbers[1];
  return fmt::format(fmt::runtime(pattern), numbers[0], numbers[1], numbers[2], numbers[3],
                     fmt::arg("range", range), fmt::arg("axis", axis),
                     fmt::arg("list", visible(list_of(trait.numbers, to), 200)));
}

}  // namespace

std::string sentence_of(const Trait& trait) {
  return filled_in(trait, entry_of(trait.kind).english, visible(trait.axis, 40), " to ");
}

std::string chinese_sentence_of(const Trait& trait) {
  return filled_in(trait, entry_of(trait.kind).chinese, chinese_axis(trait.axis), " 至 ");
}

std::size_t numbers_of(Trait::Kind kind) {
  return entry_of(kind).numbers;
}

std::string to_string(Trait::Kind kind) {
  return entry_of(kind).name;
}

std::optional<Trait::Kind> kind_of_trait(const std::string& text) {
  for (const auto& entry : kTable)
    if (text == entry.name) return entry.kind;
  return std::nullopt;
}

}  // namespace plumbline::reports
