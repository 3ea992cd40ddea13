#include "harness/evidence/relation.hpp"

#include <catch2/catch_test_macros.hpp>
#include <limits>

using namespace plumbline;

TEST_CASE("relation: a cast is told from its rounding, whichever of the two is wider", "[evidence]") {
  const auto wide = at::arange(1, 13, at::kFloat).view({4, 3}) / 7;
  const auto narrow = wide.to(at::kBFloat16);
  CHECK(relation(narrow, wide) == "a cast to BFloat16 of the tensor before");
  CHECK(relation(wide, narrow) == "the tensor before is its cast to BFloat16");
  CHECK(relation(narrow.to(at::kFloat), narrow) == "a cast to Float of the tensor before");
  CHECK(relation(narrow.flip(0), wide) ==
        "a cast to BFloat16 of the tensor before, the same rows in another order");
  CHECK(relation((wide * 1.5).to(at::kBFloat16), wide).empty());
  CHECK(relation(wide.to(at::kLong), wide).empty());
  CHECK(same_but_for_type(narrow, wide));
  CHECK(same_but_for_type(wide, narrow));
  CHECK(same_but_for_type(wide, wide.clone()));
  CHECK_FALSE(same_but_for_type((wide * 1.5).to(at::kBFloat16), wide));
  CHECK_FALSE(same_but_for_type(wide.to(at::kLong), wide));
  CHECK_FALSE(same_but_for_type(narrow[0], wide));
  CHECK(same_but_for_type(at::empty({0}), at::empty({0}, at::kHalf)));
}

TEST_CASE("relation: what stands in another order is told, and what has another content is not",
          "[evidence]") {
  const auto matrix = at::arange(12, at::kFloat).view({4, 3});
  CHECK(relation(matrix, matrix.clone()).empty());
  CHECK(relation(matrix.flip(0), matrix) == "the same rows in another order");
  CHECK(relation(matrix.flip(1), matrix) == "the same columns in another order");
  CHECK(relation(matrix.t(), matrix) == "the transpose");
  CHECK(relation(at::cat({matrix, matrix}), matrix) == "the same rows, and 4 more after them");
  CHECK(relation(matrix[0].unsqueeze(0), matrix) == "the same rows, and 3 fewer after them");
  CHECK(relation(matrix[1].flip(0), matrix[1]) == "the same elements in another order");
  CHECK(relation(matrix + 1, matrix).empty());
  CHECK(relation(matrix[0], matrix).empty());
  CHECK(relation(at::empty({0, 3}), at::empty({0, 4})).empty());
  CHECK(relation(at::tensor(1.0f), at::tensor(2.0f)).empty());
  const auto nan = at::full({2, 2}, std::numeric_limits<float>::quiet_NaN());
  CHECK(relation(nan, nan.clone()).empty());
}

TEST_CASE("relation: rows of heads for neighbouring pairs and for halves", "[evidence]") {
  // Two heads of four rows: 0 2 | 1 3 of halves are the pairs (0, 2) and (1, 3).
  const auto rows = at::arange(8, at::kFloat).view({8, 1});
  CHECK(rows_for_pairs(rows, 2).flatten().equal(at::tensor({0.f, 2.f, 1.f, 3.f, 4.f, 6.f, 5.f, 7.f})));
}
