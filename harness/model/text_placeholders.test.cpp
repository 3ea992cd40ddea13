#include "harness/model/text_placeholders.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <regex>
#include <set>

#include "harness/model/departures/departures.hpp"
#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

const std::filesystem::path kFixtures = PLUMBLINE_SOURCE_DIR "/fixtures";

Specification specification(const std::string& name) {
  return find_specification(name, kFixtures / "specifications");
}

std::multiset<std::string> named_in(const std::string& text) {
  static const std::regex name(R"(\{[^}]*\})");
  std::multiset<std::string> names;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), name); at != std::sregex_iterator(); ++at)
    names.insert(at->str());
  return names;
}

}  // namespace

TEST_CASE("advice: each can be filled in for every specification", "[advice][model]") {
  for (const auto& file : std::filesystem::directory_iterator(kFixtures / "specifications")) {
    const auto given = read_specification(file.path());
    for (const auto& defect : read_catalogue(kFixtures)) {
      INFO(given.name << ": " << defect.name);
      const auto told = fill_in_advice(defect, given);
      for (const auto& text : {told.advice, told.advice_in_chinese})
        CHECK(text.find_first_of("{}") == std::string::npos);
    }
  }
}

TEST_CASE("advice: that on another specification has no figure of minimind2-small", "[advice][model]") {
  const std::regex others(
      R"((^|[^0-9,.])()"
      R"(512|768|1408|2048|6400|6464|2\.9|22\.6|8\.76|25\.8M|68\.1M|33\.7M|29\.1M|6\.1M|3\.1M)"
      R"(|25,?829,?888|26,?624|10,?240|65,?536|(8|23) (layers|层)|17 (norms|个)|16 (additions|次|个)|sqrt\(64)"
      R"()($|[^0-9]))");
  for (const auto& defect : read_catalogue(kFixtures)) {
    const auto told = fill_in_advice(defect, specification("tiny"));
    for (const auto& text :
         {told.departure, told.arises, told.looks_like, told.advice, told.advice_in_chinese}) {
      INFO(defect.name << ": " << text);
      std::smatch found;
      std::regex_search(text, found, others);
      CHECK(found.str() == "");
    }
  }
}

TEST_CASE("advice: both languages name the same figures, and none follows what could be a figure's own end",
          "[advice][model]") {
  for (const auto& defect : read_catalogue(kFixtures)) {
    INFO(defect.name);
    CHECK(named_in(defect.advice) == named_in(defect.advice_in_chinese));
    // `report check` takes a figure to be all of these characters that stand there (reports/check.cpp).
    for (const auto& text : {defect.advice, defect.advice_in_chinese})
      CHECK_FALSE(std::regex_search(text, std::regex(R"([-0-9,.e+M]\{)")));
  }
}

TEST_CASE("advice: figures are written as a reader expects them", "[advice][model]") {
  const auto layers = placeholders_for(specification("minimind2-small"), "layers-23");
  CHECK(layers.at("parameters") == "25.8M");
  CHECK(layers.at("parameter_count") == "25,829,888");
  CHECK(layers.at("wrong.parameters") == "68.1M");
  CHECK(layers.at("times_layers") == "2.9");
  CHECK(layers.at("rope_theta") == "1,000,000");
  CHECK(layers.at("rms_norm_eps") == "1e-5");
  CHECK(layers.at("dropout") == "0");
  CHECK(layers.at("root_hidden_size") == "22.6");
  CHECK(layers.at("root_head_size") == "8");
  CHECK(layers.at("ln_vocab_size") == "8.76");
  CHECK(layers.at("norms") == "17");
  CHECK(layers.at("parameters_of_one_layer") == "6.1M");
  CHECK(placeholders_for(specification("minimind2-small"), "feed-forward-bias").at("more_parameters") ==
        "26,624");
  CHECK(placeholders_for(specification("minimind2-small"), "multi-head").at("more_parameters") == "3.1M");
  CHECK(placeholders_for(specification("minimind2-small"), "eps-1e-6").at("wrong.rms_norm_eps") == "1e-6");
  const auto small = placeholders_for(specification("tiny"), "layers-23");
  CHECK(small.at("parameters") == "128,256");
  CHECK(small.at("wrong.num_hidden_layers") == "20");
  CHECK(small.at("times_layers") == "4");
}

TEST_CASE("advice: a name that stands for no figure is refused", "[advice][model]") {
  const Placeholders known{{"width", "48"}};
  CHECK(fill_placeholders("{width} by {width}", known) == "48 by 48");
  CHECK(fill_placeholders("nothing", known) == "nothing");
  for (const auto* text : {"{height}", "{width", "width}", "{{width}}", "{}"}) {
    INFO(text);
    CHECK_THROWS_AS(fill_placeholders(text, known), InputError);
  }
  CHECK_THROWS_WITH(fill_placeholders("as {height} is", known),
                    ContainsSubstring("'{height}' stands for no figure"));
}
