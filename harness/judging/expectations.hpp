// Checks. Each records its result under the current requirement.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/judging/subject.hpp"

namespace plumbline {

void expect(Subject& subject, reports::Check check);
void expect_close(Subject& subject, const std::string& what, const at::Tensor& actual,
                  const at::Tensor& expected, const Tolerance& tolerance);
void expect_equal(Subject& subject, const std::string& what, const std::string& actual,
                  const std::string& expected);
void expect_equal(Subject& subject, const std::string& what, std::int64_t actual, std::int64_t expected);
// Expects that the largest difference between the two is at least `least`.
void expect_differs(Subject& subject, const std::string& what, const at::Tensor& one, const at::Tensor& other,
                    double least, const std::string& why);
void expect_that(Subject& subject, bool holds, const std::string& what, const std::string& actual,
                 const std::string& expected);
// Expects that `actual` is `expected` within the tolerance, on a probe that distinguishes `expected` from
// each known mistake. Errors: std::runtime_error where a mistake differs by less than ten tolerances, so that
// a pass would prove nothing.
void expect_distinguishable(Subject& subject, const std::string& what, const at::Tensor& actual,
                            const at::Tensor& expected,
                            const std::vector<std::pair<std::string, at::Tensor>>& mistakes,
                            const Tolerance& tolerance);
// The expected value of a stage, computed from the shown inputs. Errors: NotShown where one is missing.
Replayed require_replay(Subject& subject, const Stage& stage, const Stages& shown, const Tokens& tokens,
                        std::int64_t first_position = 0);
// Expects of each shown stage of these kinds, in every layer, that it is what its own inputs call for.
void expect_replayed(Subject& subject, const std::vector<std::string>& kinds, const Stages& shown,
                     const Tokens& tokens, const std::string& mode, std::int64_t first_position = 0);

// The same outside a check; empty where an input was not shown.
std::optional<Replayed> try_replay(Subject& subject, const Stage& stage, const Stages& shown,
                                   const Tokens& tokens, std::int64_t first_position = 0);

}  // namespace plumbline
