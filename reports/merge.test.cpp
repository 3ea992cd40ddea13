#include "reports/merge.hpp"

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <set>

#include "harness/result/examples.test.hpp"
#include "harness/system/error.hpp"

using namespace plumbline::reports;
using plumbline::InputError;

namespace {

// Of `whole`, as they are run: each with its own times, command and closing note.
std::vector<Source> shards_of(const Result& whole, int count) {
  std::vector<Source> shards;
  for (int i = 1; i <= count; ++i) {
    Result one = examples::shard(whole, i, count);
    const std::string number = std::to_string(i);
    one.header.started = "2026-11-22T16:00:0" + number + "Z";
    one.header.command = "./plumbline verify --shard " + number + "/" + std::to_string(count) +
                         " --spec tiny --out 'my shards/" + number + "'";
    one.header.notes.push_back(number + " s were spent waiting");
    one.footer.seconds = 0.25;
    if (one.footer.failed == 0) one.localisation.reset(), one.diagnosis.reset();
    shards.push_back({"shard-" + number, one});
  }
  return shards;
}

std::string refusal(const std::function<void(std::vector<Source>&)>& spoil) {
  auto shards = shards_of(examples::failing(), 3);
  spoil(shards);
  try {
    merge_shards(shards);
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

bool refuses(const std::string& part, const std::function<void(std::vector<Source>&)>& spoil) {
  const std::string message = refusal(spoil);
  INFO(message);
  CHECK(message.find(part) != std::string::npos);
  return !message.empty();
}

}  // namespace

TEST_CASE("shards become the document of one run but for times, in whatever order they come") {
  Result pictured = examples::pictured();
  pictured.plots.insert(pictured.plots.begin(), pictured.plots[0]);
  pictured.plots[0].requirement = "CFG-1";
  pictured.matrices.insert(pictured.matrices.begin(), pictured.matrices[0]);
  pictured.matrices[0].requirement = "GQA-1";
  for (Result whole :
       {examples::passing(), examples::failing(), examples::incomplete(), examples::waived(), pictured})
    for (const int count : {2, 3, 4, 9}) {
      whole.header.command = "./plumbline verify --spec tiny";
      auto shards = shards_of(whole, count);
      std::reverse(shards.begin(), shards.end());
      Result merged = merge_shards(shards);
      CHECK(merged.header.started == "2026-11-22T16:00:01Z");
      CHECK(merged.footer.seconds == 0.25 * count);
      merged.header.started = whole.header.started;
      merged.footer.seconds = whole.footer.seconds;
      CHECK(to_json(merged) == to_json(whole));
    }
}

TEST_CASE("a shard that is missing, doubled or another run's is refused, and which is said") {
  CHECK(refusal([](auto&) {}).empty());
  for (std::size_t i = 0; i < 3; ++i)
    refuses("shard " + std::to_string(i + 1) + " of 3 is missing",
            [&](auto& shards) { shards.erase(shards.begin() + static_cast<std::ptrdiff_t>(i)); });
  refuses("shard-2: is shard 2 of 3, and so is shard-2", [](auto& shards) { shards.push_back(shards[1]); });
  refuses("shard-2: is shard 2 of 4, where shard-1 is shard 1 of 3",
          [](auto& shards) { shards[1] = shards_of(examples::failing(), 4)[1]; });
  refuses("shard-3: is a whole run, not a shard",
          [](auto& shards) { shards[2].result.header.shard.reset(); });
  const auto header = [](const char* name, auto spoil) {
    refuses(std::string("shard-2: is a shard of another run than shard-1: its ") + name,
            [&](auto& shards) { spoil(shards[1].result.header); });
  };
  header("Plumbline", [](Header& h) { h.plumbline_version = "0.2.0"; });
  header("specification", [](Header& h) { h.specification = "tiny"; });
  header("specification_sha256", [](Header& h) { h.specification_sha256 = std::string(64, 'c'); });
  header("candidate", [](Header& h) { h.candidate = "other"; });
  header("candidate_kind", [](Header& h) { h.candidate_kind = "live"; });
  header("candidate_sha256", [](Header& h) { h.candidate_sha256 = std::string(64, 'c'); });
  header("device", [](Header& h) { h.device = "cuda:0"; });
  header("dtype", [](Header& h) { h.dtype = "bf16"; });
  header("threads", [](Header& h) { h.threads = 3; });
  header("seed", [](Header& h) { h.seed = 3; });
  header("versions", [](Header& h) { h.versions[0].second = "3"; });
  header("command", [](Header& h) { h.command += " --dtype bf16"; });
  header("scope", [](Header& h) { h.scope = "chapter 3"; });
  header("waivers", [](Header& h) { h.waivers = {examples::waiver("CFG-1", "2026-12-31")}; });
  header("commit", [](Header& h) { h.commit = Commit{"0f3a", true}; });
  header("baseline", [](Header& h) { h.baseline = Baseline{"a", "live", ""}; });
}

TEST_CASE("a shard with a chapter or requirement too few, looked at twice, or edited is refused") {
  refuses("shard-2: does not have the chapters of shard-1",
          [](auto& shards) { shards[1].result.chapters.pop_back(); });
  refuses("shard-2: does not have the requirements of shard-1",
          [](auto& shards) { shards[1].result.requirements.pop_back(); });
  refuses("shard-2: does not have the requirements of shard-1",
          [](auto& shards) { shards[1].result.requirements[0].statement = "something else"; });
  refuses("shard-2: looked at CFG-1, and so did shard-1",
          [](auto& shards) { shards[1].result.requirements[0] = shards[0].result.requirements[0]; });
  refuses("CFG-1: no shard checked this requirement", [](auto& shards) {
    shards[0].result.requirements[0] = shards[1].result.requirements[0];
    shards[0].result.requirements[0].reason = Reason::of_other_shards({1, 3});
  });
  refuses("it was edited or damaged",
          [](auto& shards) { shards[0].result.requirements[3].checks[1].within = true; });
}

TEST_CASE("each requirement is in exactly one shard, whatever their number") {
  std::vector<std::string> ids;
  for (int i = 0; i < 23; ++i) ids.push_back("A-" + std::to_string(i));
  for (const int count : {1, 2, 4, 7, 22, 23, 24, 100}) {
    std::multiset<std::string> seen;
    for (int i = 1; i <= count; ++i)
      for (const std::string& id : of_shard(ids, {i, count})) seen.insert(id);
    CHECK(seen == std::multiset<std::string>(ids.begin(), ids.end()));
  }
  CHECK(of_shard(ids, {24, 24}).empty());
  CHECK(of_shard({}, {1, 2}).empty());
  CHECK(of_shard(ids, {2, 4}) == std::vector<std::string>{"A-1", "A-5", "A-9", "A-13", "A-17", "A-21"});
  CHECK_THROWS_AS(of_shard(ids, {0, 4}), InputError);
  CHECK_THROWS_AS(of_shard(ids, {5, 4}), InputError);
}

TEST_CASE("a shard is named as 2/4 and in no other way") {
  CHECK(parse_shard("2/4").index == 2);
  CHECK(parse_shard("2/4").of == 4);
  for (const char* text :
       {"", "2", "2/", "/4", "0/4", "5/4", "-1/4", "2/4/6", "2/4 ", "a/b", "2.0/4", "1/10001"})
    CHECK_THROWS_AS(parse_shard(text), InputError);
}

TEST_CASE("whole results of several stand beside each other, once each, of one specification") {
  const auto of = [](const std::string& candidate) {
    Result result = examples::passing();
    result.header.candidate = candidate;
    return Source{candidate, result};
  };
  Source failing{"failing", examples::failing()};
  const Collection both = collect({of("one"), failing});
  CHECK(status_of(both) == 1);
  CHECK(verdict_of(both) == "1 of 2 conform to minimind2-small");
  CHECK(status_of(collect({of("one"), of("two")})) == 0);
  CHECK(status_of(collect({of("one"), {"three", examples::incomplete()}})) == 3);
  const std::string text = to_json(both);
  CHECK(is_collection(text));
  CHECK_FALSE(is_collection(to_json(examples::passing())));
  CHECK(to_json(collection_from_json(text, "collection.json")) == text);
  CHECK(to_markdown(both).find("| GQA-2 query head h reads key/value head h div 4 | ✔ | ✘ |") !=
        std::string::npos);
  CHECK(to_markdown(both).find("| GQA-4 scores are scaled by 1/8 |  | ! |") != std::string::npos);
  const auto refused = [&](Source second) {
    try {
      collect({of("one"), std::move(second)});
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused(of("one")).find("one (cpu: AMD EPYC, f32) is there twice") != std::string::npos);
  Source other = of("two");
  other.result.header.specification_sha256 = std::string(64, 'c');
  CHECK(refused(other).find("another specification") != std::string::npos);
  other = of("two");
  other.result.header.plumbline_version = "0.2.0";
  CHECK(refused(other).find("Plumbline 0.2.0") != std::string::npos);
  CHECK(refused({"shard", examples::shard(examples::passing(), 1)}).find("not a whole run") !=
        std::string::npos);
  CHECK(refused({"pair", examples::compared()}).find("compared with another") != std::string::npos);
}
