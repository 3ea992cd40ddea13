#include "harness/judging/ways.hpp"

#include <fmt/format.h>
#include <catch2/catch_test_macros.hpp>

#include <map>
#include <set>

#include "harness/candidate/reference.hpp"
#include "harness/evidence/compare.hpp"
#include "harness/model/departures/departures.hpp"

using namespace plumbline;

namespace {

bool all_capabilities(const std::string&) {
  return true;
}

// The ways in which the logits of the reference with this defect are not exact.
std::vector<Way> wrong_ways(const std::string& defect) {
  const auto specification = find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  const auto departed =
      defect.empty() ? DepartedModel{specification, {}} : apply_departures(specification, defect);
  const auto candidate = make_reference("the reference", departed, at::kFloat, at::kCPU);
  Recorder recorder(RequirementList{}, "reference");
  Subject subject(*candidate, specification, std::nullopt, PLUMBLINE_SOURCE_DIR "/fixtures", recorder);
  const at::NoGradGuard no_gradients;
  std::vector<Way> wrong;
  for (const auto& way : ways(all_capabilities, 32768)) {
    if (way.shows_loss()) continue;
    const auto sequence = sequence_of(subject, way);
    const auto expected = subject.exact().forward(sequence, way.options());
    if (!compare(way.name(), run_way(subject, way, sequence), expected,
                 noise_of_pass(subject, sequence, way.options(), expected))
             .within)
      wrong.push_back(way);
  }
  return wrong;
}

}  // namespace

TEST_CASE("ways: they are few, and each has a name of its own", "[judging]") {
  const auto all = ways(all_capabilities, 32768);
  CHECK(all.size() == 33);
  std::set<std::string> names;
  for (const auto& way : all) names.insert(way.name());
  CHECK(names.size() == all.size());
}

TEST_CASE("ways: a candidate is asked for nothing that it cannot do", "[judging]") {
  const std::set<std::string> plain{"evaluation"};
  for (const auto& way :
       ways([&](const std::string& capability) { return plain.contains(capability); }, 32768))
    CHECK((!way.uses_cache() && !way.pads() && !way.shows_loss() && !way.options().training));
  const std::set<std::string> cached{"evaluation", "cache", "padding.left", "padding.right"};
  for (const auto& way :
       ways([&](const std::string& capability) { return cached.contains(capability); }, 32768))
    CHECK_FALSE((way.uses_cache() && way.pads()));  // cache.padding is a capability of its own
  for (const auto& way : ways(all_capabilities, 64))
    CHECK((way.tokens() < 64 && way.options().first_position == 0));
  CHECK(ways([](const std::string&) { return false; }, 32768).empty());
}

TEST_CASE("ways: the reference is exact in all of them", "[judging]") {
  CHECK(wrong_ways("").empty());
}

TEST_CASE("ways: without an axis its defect would survive", "[judging]") {
  const std::map<std::string, std::string> seen_only_by = {
      {"pass", "mask-none-in-training"}, {"mask", "mask-without-padding"},
      {"cache", "position-restarts"},    {"rows", "mask-of-first-row"},
      {"length", "mask-window-256=64"},  {"position", "rotary-table-ends=256"},
      {"ids", "token-0-is-padding"},
  };
  REQUIRE(seen_only_by.size() == axes().size());
  for (std::size_t axis = 0; axis < axes().size(); ++axis) {
    INFO(axes()[axis].name);
    const auto wrong = wrong_ways(seen_only_by.at(axes()[axis].name));
    CHECK_FALSE(wrong.empty());
    for (const auto& way : wrong) {
      INFO(way.name());
      CHECK(way.values[axis] != 0);
    }
  }
}

TEST_CASE("ways: what is wrong is told by the values that have to meet", "[judging]") {
  std::set<std::string> smallest;
  const auto wrong = wrong_ways("mask-without-padding-in-training");
  REQUIRE_FALSE(wrong.empty());
  for (const auto& way : wrong)
    smallest.insert(smallest_wrong(way, [](const Way& other) {
                      return other.options().training && other.pads();  // as that defect does
                    }).name());
  CHECK(smallest.contains("training mode, padding on the left, 24 tokens"));
  CHECK(smallest.size() <= 2);
}

TEST_CASE("ways: labels are a row's own, wherever padding stands", "[judging]") {
  const auto ids = at::arange(10, 36).view({2, 13});
  const auto plain = labels_of({ids, {}, Padding::none});
  CHECK((plain == -100).sum().item<int>() == 6);  // the first of each row, and two more
  CHECK(plain[0].narrow(0, 6, 3).equal(at::arange(3)));
  const auto left = labels_of({ids.roll(4, 1), {13, 9}, Padding::left});
  const auto right = labels_of({ids, {13, 9}, Padding::right});
  CHECK(left[1].narrow(0, 0, 5).eq(-100).all().item<bool>());  // four of padding, and the first token
  CHECK(right[1].narrow(0, 9, 4).eq(-100).all().item<bool>());
  CHECK(left[1].narrow(0, 4, 9).equal(right[1].narrow(0, 0, 9)));
}
