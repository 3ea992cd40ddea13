// The macro with which suites define the test of a requirement.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include "harness/judging/expectations.hpp"
#include "harness/judging/passes.hpp"
#include "suites/catch2_bridge.hpp"

// Defines the test of the requirement `id` of fixtures/requirements.json; the body has the parameter
// `Subject& subject`. Catch2 finds it by its tag.
#define REQUIREMENT(id, title) PLUMBLINE_REQUIREMENT(id, title, __COUNTER__)
#define PLUMBLINE_REQUIREMENT(id, title, number) PLUMBLINE_NUMBERED_REQUIREMENT(id, title, number)
#define PLUMBLINE_NUMBERED_REQUIREMENT(id, title, number) \
  static void judge_##number(Subject& subject);           \
  TEST_CASE(id ": " title, "[" id "]") {                  \
    judge_requirement(id, title, judge_##number);         \
  }                                                       \
  static void judge_##number([[maybe_unused]] Subject& subject)
