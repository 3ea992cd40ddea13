#include "harness/campaign/campaign.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
namespace {

const std::filesystem::path kFixtures = PLUMBLINE_SOURCE_DIR "/fixtures";

Json settings() {
  return {{"specification", "tiny"},
          {"full_size", {{"specification", "minimind2-small"}, {"every", 10}}},
          {"detection_margin", 50},
          {"variant_margin", 10},
          {"narrow_suite", {{"title", "a narrow one"}, {"requirements", Json::array({"PAR-1"})}}},
          {"by_chance", Json::array()},
          {"near", Json::array()},
          {"not_failed_by_defects", Json::array()}};
}

Json run(const std::string& candidate, int status, const Json& failed, const Json& passed) {
  return {{"candidate", candidate}, {"specification", "tiny"}, {"full_size", false},
          {"decides", true},        {"seconds", 1.0},          {"status", status},
          {"failed", failed},       {"passed", passed},        {"others", Json::array()}};
}

Json failing(const std::string& id, const Json& margin, bool decides = true) {
  return {{"id", id}, {"margin", margin}, {"decides", decides}};
}

Json passing(const std::string& id, const Json& share) {
  return {{"id", id}, {"share", share}};
}

// One defect that is seen, one variant that passes, every requirement failed by something.
Json sound() {
  auto wrong = run("defect:a", 1, Json::array({failing("PAR-1", 70.0), failing("NUM-6", 500.0)}),
                   Json::array({passing("CFG-1", Json())}));
  wrong["diagnosis"] = {{"named", Json::array({Json::array({"a"})})},
                        {"conclusion", "explained to rounding by a"}};
  const auto other =
      run("defect:b", 1, Json::array({failing("CFG-1", Json())}), Json::array({passing("NUM-6", 0.01)}));
  const auto honest = run("variant:c", 0, Json::array(), Json::array({passing("NUM-6", 0.05)}));
  return {{"runs", Json::array({wrong, other, honest})},
          {"complete", true},
          {"program", "0"},
          {"command", "c"},
          {"device", "d"},
          {"requirements", Json::array({"PAR-1", "NUM-6", "CFG-1"})}};
}

Json concluded(Json document, const Json& with = settings()) {
  conclude_campaign(document, with);
  return document["conclusion"];
}

}  // namespace

TEST_CASE("campaign: all as it should be is status 0, with its figures", "[campaign]") {
  const auto found = concluded(sound());
  CHECK(found["status"] == 0);
  CHECK(found["defects"] == 2);
  CHECK(found["variants"] == 1);
  CHECK(found["weakest_detection"]["run"] == "defect:a");
  CHECK(found["weakest_detection"]["margin"] == 500.0);
  CHECK(found["nearest_variant"]["share"] == 0.05);
  CHECK(found["diagnosed"] == 1);
  CHECK(found["named"] == 1);
  CHECK(found["narrow_suite"]["sees"] == 1);
  CHECK(found["seen_by_one_alone"] == Json::array({{{"run", "defect:b"}, {"requirement", "CFG-1"}}}));
}

TEST_CASE("campaign: whatever is not as it should be is told, and is status 1", "[campaign]") {
  const auto fails = [](const char* where, const std::function<void(Json&)>& change,
                        const Json& with = settings()) {
    INFO(where);
    auto document = sound();
    change(document);
    conclude_campaign(document, with);
    const auto& found = document["conclusion"];
    CHECK(found["status"] == 1);
    CHECK(found[where].size() == 1);
    CHECK_THAT(campaign_summary(document), ContainsSubstring(" ! "));
    CHECK_THAT(campaign_report(document), ContainsSubstring("# Campaign: NOT as expected"));
  };
  fails("survivors", [](Json& d) { d["runs"][1]["status"] = 0; });
  fails("survivors", [](Json& d) { d["runs"][1]["status"] = 2; });
  fails("survivors", [](Json& d) {
    d["runs"][1]["decides"] = false, d["runs"][1]["status"] = 0;
    d["runs"][0]["failed"].push_back(failing("CFG-1", Json()));
    d["runs"][1]["failed"] = Json::array();
  });
  fails("false_alarms", [](Json& d) { d["runs"][2]["status"] = 1; });
  fails("false_alarms", [](Json& d) { d["runs"][2]["status"] = 2; });
  fails("false_alarms", [](Json& d) {
    d["runs"][2]["status"] = 3, d["runs"][2]["failed"] = Json::array({failing("ROPE-7", 2.0, false)});
  });
  fails("false_alarms", [](Json& d) { d["runs"][2]["status"] = 3, d["runs"][2]["passed"] = Json::array(); });
  fails("unusable", [](Json& d) {
    d["runs"][0]["others"] =
        Json::array({Json{{"id", "NUM-1"}, {"verdict", "error"}, {"reason", "no golden tensors"}}});
  });
  fails("below_margin", [](Json& d) {
    d["runs"][0]["failed"][1]["margin"] = 49.0, d["runs"][0]["failed"][0]["margin"] = 2.0;
  });
  fails("above_margin", [](Json& d) { d["runs"][2]["passed"][0]["share"] = 0.11; });
  fails("not_failed_by_any", [](Json& d) { d["runs"][1]["failed"][0]["id"] = "CFG-2"; });
}

TEST_CASE("campaign: what is stated with its reason does not count against it", "[campaign]") {
  auto with = settings();
  with["near"] = Json::array({Json{{"name", "defect:a"}, {"reason", "small here"}}});
  with["not_failed_by_defects"] = Json::array({Json{{"name", "CFG-1"}, {"reason", "not of a reference"}}});
  with["by_chance"] = Json::array({Json{{"name", "NUM-6"}, {"reason", "drawn"}}});
  auto document = sound();
  document["runs"][0]["failed"] = Json::array({failing("PAR-1", 3.0), failing("NUM-6", 4.0)});
  document["runs"][1]["failed"] = Json::array({failing("PAR-1", Json())});
  document["runs"][2]["passed"][0]["share"] = 0.9;
  conclude_campaign(document, with);
  CHECK(document["conclusion"]["status"] == 0);
  CHECK_THAT(campaign_summary(document), ContainsSubstring("[small here]"));
  CHECK_THAT(campaign_summary(document), ContainsSubstring("CFG-1 [not of a reference]"));
}

TEST_CASE("campaign: what was not run is not said to be as it should be", "[campaign]") {
  auto document = sound();
  document["complete"] = false;
  document["runs"].erase(0), document["runs"].erase(0);
  conclude_campaign(document, settings());
  CHECK_THAT(campaign_summary(document), ContainsSubstring("the other candidates were not run"));
  CHECK(campaign_summary(document).find("defects seen") == std::string::npos);
}

TEST_CASE("campaign: a variant that does not show everything is not blamed for it", "[campaign]") {
  auto document = sound();
  document["runs"][2]["status"] = 3;
  CHECK(concluded(document)["status"] == 0);
}

TEST_CASE("campaign: everything is planned, at full size a tenth, and names are looked up", "[campaign]") {
  const auto all = plan_campaign(kFixtures, {}, true);
  std::size_t defects = 0, variants = 0, full = 0;
  for (const auto& one : all) ++(one.full_size ? full : one.defect() ? defects : variants);
  CHECK(defects >= 80);
  CHECK(variants >= 60);
  CHECK(full == (defects + variants + 9) / 10);
  const auto few = plan_campaign(kFixtures, {"positions-2048", "variant:fused"}, false);
  REQUIRE(few.size() == 2);
  CHECK(few[0].candidate == "defect:positions-2048");
  CHECK_FALSE(few[0].decides);
  CHECK(few[1].decides);
  CHECK_THROWS_AS(plan_campaign(kFixtures, {"no-such"}, false), InputError);
}

TEST_CASE("campaign: the matrix is a picture that tells what each cell is", "[campaign]") {
  auto document = sound();
  document["runs"][0]["candidate"] = "defect:<a>";
  conclude_campaign(document, settings());
  const auto picture = campaign_matrix(document);
  CHECK_THAT(picture, ContainsSubstring("<title>&lt;a&gt; fails NUM-6, 500 times its tolerance</title>"));
  CHECK_THAT(picture, ContainsSubstring("2 defects in rows, 3 requirements in columns"));
  CHECK(picture.find("<a>") == std::string::npos);
}
