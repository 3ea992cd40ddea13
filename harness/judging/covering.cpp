#include "harness/judging/covering.hpp"

#include <array>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace plumbline {
namespace {

using Pair = std::array<std::size_t, 4>;  // axis, value, later axis, value

class Covering {
 public:
  Covering(const std::vector<std::size_t>& sizes, const MayMeet& may_meet)
      : sizes_(sizes), may_meet_(may_meet) {
    for (std::size_t a = 0; a < sizes.size(); ++a)
      for (std::size_t b = a + 1; b < sizes.size(); ++b)
        for (std::size_t i = 0; i < sizes[a]; ++i)
          for (std::size_t j = 0; j < sizes[b]; ++j) note({a, i, b, j});
  }

  std::vector<CoveringRow> rows() {
    std::vector<CoveringRow> all;
    while (!uncovered_.empty()) all.push_back(next_row());
    return all;
  }

 private:
  void note(const Pair& pair) {
    const auto& [a, i, b, j] = pair;
    if (may_meet_(a, i, b, j))
      uncovered_.insert(pair);
    else if (i == 0 || j == 0)
      throw std::logic_error("the first value of an axis may not meet one of another");
  }

  static Pair in_order(std::size_t a, std::size_t i, std::size_t b, std::size_t j) {
    return a < b ? Pair{a, i, b, j} : Pair{b, j, a, i};
  }

  bool meets(std::size_t axis, std::size_t value, const std::vector<bool>& chosen,
             const CoveringRow& row) const {
    for (std::size_t other = 0; other < row.size(); ++other) {
      if (!chosen[other]) continue;
      const auto [a, i, b, j] = in_order(axis, value, other, row[other]);
      if (!may_meet_(a, i, b, j)) return false;
    }
    return true;
  }

  // How many pairs a value would cover now, how many more it waits for, and how rarely it was taken.
  using Gain = std::tuple<std::size_t, std::size_t, int>;

  Gain gain(std::size_t axis, std::size_t value, const std::vector<bool>& chosen,
            const CoveringRow& row) const {
    std::size_t now = 0, later = 0;
    for (const auto& [a, i, b, j] : uncovered_) {
      if (!(a == axis && i == value) && !(b == axis && j == value)) continue;
      const auto other = a == axis ? b : a;
      if (!chosen[other])
        ++later;
      else if (row[other] == (a == axis ? j : i))
        ++now;
    }
    const auto taken = unused_.find({axis, value});
    return {now, later, taken == unused_.end() ? 0 : taken->second};
  }

  // Begins with the first pair that is not covered; each axis then takes the value that covers most.
  CoveringRow next_row() {
    CoveringRow row(sizes_.size(), 0);
    std::vector<bool> chosen(sizes_.size(), false);
    const auto [a, i, b, j] = *uncovered_.begin();
    row[a] = i;
    row[b] = j;
    chosen[a] = chosen[b] = true;
    for (std::size_t axis = 0; axis < sizes_.size(); ++axis) {
      if (chosen[axis]) continue;
      std::optional<Gain> best;
      for (std::size_t value = 0; value < sizes_[axis]; ++value) {
        const auto gained = gain(axis, value, chosen, row);
        if ((best && gained <= *best) || !meets(axis, value, chosen, row)) continue;
        best = gained;
        row[axis] = value;
      }
      chosen[axis] = true;
    }
    for (std::size_t axis = 0; axis < row.size(); ++axis) --unused_[{axis, row[axis]}];
    for (std::size_t one = 0; one < row.size(); ++one)
      for (std::size_t other = one + 1; other < row.size(); ++other)
        uncovered_.erase({one, row[one], other, row[other]});
    return row;
  }

  const std::vector<std::size_t>& sizes_;
  const MayMeet& may_meet_;
  std::set<Pair> uncovered_;
  std::map<std::pair<std::size_t, std::size_t>, int> unused_;  // by axis and value: minus how often taken
};

}  // namespace

std::vector<CoveringRow> cover_pairs(const std::vector<std::size_t>& sizes, const MayMeet& may_meet) {
  return Covering(sizes, may_meet).rows();
}

}  // namespace plumbline
