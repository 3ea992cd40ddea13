#include "harness/result/waivers.hpp"

#include <catch2/catch_test_macros.hpp>
#include "harness/system/json.hpp"

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline::reports;
using plumbline::Json;
using plumbline::parse_json;
namespace {

Json good() {
  return {{"format", "plumbline-waivers"},
          {"version", 1},
          {"waivers",
           {{{"requirement", "GQA-2"}, {"reason", "a kernel"}, {"who", "Ada"}, {"expires", "2026-12-31"}}}}};
}

std::vector<Waiver> read(const std::string& text) {
  const plumbline::TemporaryDirectory directory;
  const auto file = directory.path() / "waivers.json";
  plumbline::write_atomically(file, text);
  return read_waivers(file, {"GQA-1", "GQA-2"});
}

std::string refusal(const Json& document) {
  try {
    read(document.dump());
  } catch (const plumbline::InputError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("waivers are read as they stand, expired ones too") {
  const auto waivers = read(good().dump());
  REQUIRE(waivers.size() == 1);
  CHECK(waivers[0].requirement == "GQA-2");
  CHECK(waivers[0].reason == "a kernel");
  CHECK(waivers[0].who == "Ada");
  CHECK(waivers[0].expires == "2026-12-31");
  Json old = good();
  old["waivers"][0]["expires"] = "1999-01-01";
  CHECK(refusal(old).empty());
}

TEST_CASE("a waiver that nobody can answer for is refused") {
  const auto refuses = [](const char* key, const Json& value, const std::string& part) {
    Json document = good();
    document["waivers"][0][key] = value;
    INFO(refusal(document));
    CHECK(refusal(document).find(part) != std::string::npos);
  };
  refuses("requirement", "GQA-3", "waivers[0].requirement is GQA-3, which is no requirement");
  refuses("reason", "", "reason is empty");
  refuses("reason", " \n", "reason is empty");
  refuses("reason", "\u00a0\u200b\u3000\u0301", "reason is empty");
  refuses("who", "", "who is empty");
  refuses("who", "\u2800", "who is empty");
  refuses("who", 1, "expected \"who\" to be a string");
  refuses("until", "x", "unknown member until");
  for (const char* day :
       {"2026-02-30", "2026-13-01", "2026-1-1", "2026-12-31 ", "-026-12-31", "tomorrow", ""})
    refuses("expires", day, "which is no day");
  Json twice = good();
  twice["waivers"].push_back(twice["waivers"][0]);
  CHECK(refusal(twice).find("waivers[1] waives GQA-2 a second time") != std::string::npos);
  Json without = good();
  without["waivers"][0].erase("who");
  CHECK(refusal(without).find("expected \"who\"") != std::string::npos);
  Json newer = good();
  newer["version"] = 2;
  CHECK(refusal(newer).find("version") != std::string::npos);
  CHECK_FALSE(refusal({{"format", "other"}}).empty());
  CHECK_FALSE(refusal(Json::array()).empty());
  CHECK_THROWS_AS(read(std::string(2U << 20U, ' ')), plumbline::InputError);
}
