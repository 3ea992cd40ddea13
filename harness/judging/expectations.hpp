// Checks, each of which records under the requirement at hand what it saw.
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
// The largest difference is at least `least`: something must show.
void expect_differs(Subject& subject, const std::string& what, const at::Tensor& one, const at::Tensor& other,
                    double least, const std::string& why);
void expect_that(Subject& subject, bool holds, const std::string& what, const std::string& actual,
                 const std::string& expected);
// `actual` is `right` within the tolerance. A probe on which right and a known wrong cannot be told apart, at
// least ten times the tolerance, is an error of the evidence and not a pass.
void expect_told_apart(Subject& subject, const std::string& what, const at::Tensor& actual,
                       const at::Tensor& right, const std::vector<std::pair<std::string, at::Tensor>>& wrong,
                       const Tolerance& tolerance);
// What a stage should be for the inputs that were shown, with each element's own bound. Errors: NotShown.
Replayed replayed(Subject& subject, const std::string& stage, const Stages& shown, const Tokens& tokens,
                  std::int64_t first_position = 0);
// Every shown stage of these names, in every layer, is what its own inputs call for.
void expect_replayed(Subject& subject, const std::vector<std::string>& stages, const Stages& shown,
                     const Tokens& tokens, const std::string& mode, std::int64_t first_position = 0);

// The replay of a stage of a pass that was asked for outside a check; empty when its inputs were not shown.
std::optional<Replayed> try_replay(Subject& subject, const std::string& stage, const Stages& shown,
                                   const Tokens& tokens, std::int64_t first_position = 0);

}  // namespace plumbline
