#include "harness/evidence/relation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace plumbline {
namespace {

// The bytes of each row, sorted; views of the tensor, which is contiguous.
std::vector<std::string_view> sorted_rows(const at::Tensor& matrix) {
  const auto count = static_cast<std::size_t>(matrix.size(0));
  const auto length = matrix.nbytes() / count;
  const auto* begin = static_cast<const char*>(matrix.const_data_ptr());
  std::vector<std::string_view> rows;
  for (std::size_t row = 0; row < count; ++row) rows.emplace_back(begin + row * length, length);
  std::sort(rows.begin(), rows.end());
  return rows;
}

bool same_rows(const at::Tensor& one, const at::Tensor& other) {
  return one.numel() > 0 && sorted_rows(one) == sorted_rows(other);
}

// A cheap necessary condition, by sums of the bits as integers.
bool may_be_permutation(const at::Tensor& one, const at::Tensor& other) {
  const auto sum = [](const at::Tensor& x) {
    const auto integer_type = x.element_size() == 8   ? at::kLong
                              : x.element_size() == 4 ? at::kInt
                              : x.element_size() == 2 ? at::kShort
                                                      : at::kChar;
    return x.view(integer_type).sum(at::kLong).item<std::int64_t>();
  };
  return one.numel() == other.numel() && one.element_size() <= 8 && sum(one) == sum(other);
}

// For a matrix with rows added or removed at the end, such as a resized vocabulary; empty otherwise.
std::string describe_added_rows(const at::Tensor& now, const at::Tensor& before) {
  if (now.dim() == 0 || now.dim() != before.dim() || now.sizes().slice(1) != before.sizes().slice(1))
    return "";
  const auto rows = std::min(now.size(0), before.size(0));
  if (rows == 0 || now.size(0) == before.size(0)) return "";
  if (!same_bits(now.narrow(0, 0, rows), before.narrow(0, 0, rows))) return "";
  const auto more = now.size(0) - before.size(0);
  return fmt::format("the same rows, and {} {} after them", std::abs(more), more > 0 ? "more" : "fewer");
}

// For two tensors of one type; empty where there is no known relation.
std::string describe_reordering(const at::Tensor& now, const at::Tensor& before) {
  if (const auto words = describe_added_rows(now, before); !words.empty()) return words;
  if (!may_be_permutation(now, before)) return "";
  if (now.dim() == 2 && now.sizes() == before.t().sizes() && same_bits(now, before.t()))
    return "the transpose";
  if (now.sizes() != before.sizes() || now.dim() == 0) return "";
  if (same_rows(now, before))
    return now.dim() == 1 ? "the same elements in another order" : "the same rows in another order";
  if (now.dim() == 2 && same_rows(now.t().contiguous(), before.t().contiguous()))
    return "the same columns in another order";
  return "";
}

}  // namespace

bool same_bits(const at::Tensor& one, const at::Tensor& other) {
  if (one.scalar_type() != other.scalar_type() || one.sizes() != other.sizes()) return false;
  const auto a = one.detach().to(at::kCPU).contiguous(), b = other.detach().to(at::kCPU).contiguous();
  return a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

bool same_but_for_type(const at::Tensor& one, const at::Tensor& other) {
  if (one.sizes() != other.sizes()) return false;
  if (one.scalar_type() == other.scalar_type()) return same_bits(one, other);
  if (!at::isFloatingType(one.scalar_type()) || !at::isFloatingType(other.scalar_type())) return false;
  const auto few = std::min<std::int64_t>(64, one.numel());  // a cheap check that most differences fail
  const auto cast = [few](const at::Tensor& narrow, const at::Tensor& wide) {
    const auto some = [few](const at::Tensor& x) {
      return x.detach().to(at::kCPU).reshape({-1}).narrow(0, 0, few);
    };
    return same_bits(some(narrow), some(wide).to(narrow.scalar_type())) &&
           same_bits(narrow, wide.to(narrow.scalar_type()));
  };
  return cast(one, other) || cast(other, one);
}

std::string relation(const at::Tensor& now_tensor, const at::Tensor& before_tensor) {
  const auto now = now_tensor.detach().to(at::kCPU).contiguous();
  const auto before = before_tensor.detach().to(at::kCPU).contiguous();
  if (now.scalar_type() == before.scalar_type())
    return same_bits(now, before) ? "" : describe_reordering(now, before);
  if (!at::isFloatingType(now.scalar_type()) || !at::isFloatingType(before.scalar_type())) return "";
  const auto related = [](const at::Tensor& one, const at::Tensor& other) {
    return same_bits(one, other) ? "the same" : describe_reordering(one, other);
  };
  for (const bool forwards : {true, false}) {
    const auto type = (forwards ? now : before).scalar_type();
    const auto how = forwards ? related(now, before.to(type)) : related(now.to(type), before);
    if (how.empty()) continue;
    const auto cast = forwards ? fmt::format("a cast to {} of the tensor before", at::toString(type))
                               : fmt::format("the tensor before is its cast to {}", at::toString(type));
    return how == "the same" ? cast : fmt::format("{}, {}", cast, how);
  }
  return "";
}

at::Tensor rows_for_pairs(const at::Tensor& halves, std::int64_t heads) {
  const auto size = halves.size(0) / heads;
  return halves.reshape({heads, 2, size / 2, -1}).transpose(1, 2).reshape(halves.sizes());
}

}  // namespace plumbline
