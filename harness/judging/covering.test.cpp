#include "harness/judging/covering.hpp"

#include <catch2/catch_test_macros.hpp>

#include <set>
#include <stdexcept>
#include <vector>

using namespace plumbline;

namespace {

using Pairs = std::set<std::vector<std::size_t>>;

Pairs pairs_in(const std::vector<CoveringRow>& rows) {
  Pairs pairs;
  for (const auto& row : rows)
    for (std::size_t a = 0; a < row.size(); ++a)
      for (std::size_t b = a + 1; b < row.size(); ++b) pairs.insert({a, row[a], b, row[b]});
  return pairs;
}

Pairs pairs_of(const std::vector<std::size_t>& sizes, const MayMeet& may_meet) {
  Pairs pairs;
  for (std::size_t a = 0; a < sizes.size(); ++a)
    for (std::size_t b = a + 1; b < sizes.size(); ++b)
      for (std::size_t i = 0; i < sizes[a]; ++i)
        for (std::size_t j = 0; j < sizes[b]; ++j)
          if (may_meet(a, i, b, j)) pairs.insert({a, i, b, j});
  return pairs;
}

const MayMeet always = [](std::size_t, std::size_t, std::size_t, std::size_t) { return true; };

}  // namespace

TEST_CASE("covering: any two values that may meet do, and no others", "[judging]") {
  // Values other than the first of the first two axes exclude each other.
  const MayMeet apart = [](std::size_t a, std::size_t i, std::size_t b, std::size_t j) {
    return !(a == 0 && b == 1 && i > 0 && j > 0);
  };
  for (const auto& sizes : std::vector<std::vector<std::size_t>>{
           {2, 2}, {3, 4}, {4, 5, 2, 3, 2}, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {5, 1, 3}})
    for (const auto& may_meet : {always, apart}) {
      const auto rows = cover_pairs(sizes, may_meet);
      CHECK(pairs_in(rows) == pairs_of(sizes, may_meet));
    }
}

TEST_CASE("covering: a product is thinned, and has no row twice", "[judging]") {
  const auto rows = cover_pairs(std::vector<std::size_t>(10, 2), always);
  CHECK(rows.size() <= 12);  // of 1024; the least possible is 6
  CHECK(std::set<CoveringRow>(rows.begin(), rows.end()).size() == rows.size());
}

TEST_CASE("covering: a value that nothing may stand beside is refused", "[judging]") {
  CHECK_THROWS_AS(cover_pairs({2, 2}, [](std::size_t, std::size_t i, std::size_t,
                                         std::size_t j) { return !(i == 0 && j == 1); }),
                  std::logic_error);
}
