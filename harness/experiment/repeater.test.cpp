#include "harness/experiment/repeater.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fstream>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.test.hpp"
#include "harness/training_log/training_log.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
namespace {

const std::filesystem::path fixtures = PLUMBLINE_SOURCE_DIR "/fixtures";

// The small scale, so small that nothing is learned.
RepeaterOptions shortest(const std::filesystem::path& out) {
  RepeaterOptions options;
  options.scale = read_scale("small", fixtures);
  auto& s = options.scale;
  s.steps = 3;
  s.warm_up = 1;
  s.batch = 2;
  s.length = 48;
  s.held_out_batches = 1;
  s.prompts = 12;
  s.prompt_tokens = 6;
  s.new_tokens = 40;
  options.out = out;
  options.workers = 2;
  return options;
}

const auto silent = [](double, std::size_t, std::size_t) {};

Json without_times(Json document) {
  document.erase("seconds");
  for (auto& run : document["runs"]) run.erase("seconds");
  return document;
}

void write_tokens(const std::filesystem::path& file, int lines) {
  std::ofstream out(file);
  for (int i = 0; i < lines; ++i) {
    Json ids = Json::array();
    for (int t = 0; t < 100; ++t) ids.push_back((i * 31 + t * 7) % 80);
    out << Json{{"ids", ids}}.dump() << "\n";
  }
}

}  // namespace

TEST_CASE("repeater: a run has what its name says, and all else as after", "[experiment]") {
  const auto small = read_scale("small", fixtures), full = read_scale("full", fixtures);
  for (const auto& scale : {small, full}) {
    CHECK(model_of(scale, {}) == scale.after);
    auto before = model_of(scale, {true, true, true, true, true});
    // What is of the model before and no factor: the type of norms, and how many positions there are.
    auto expected = scale.before;
    expected.name = before.name, expected.title = before.title, expected.source = before.source;
    expected.sha256 = before.sha256;
    expected.norm_precision = before.norm_precision;
    expected.max_position_embeddings = before.max_position_embeddings;
    CHECK(before == expected);
    const auto heads = model_of(scale, {false, true, false, false, false});
    CHECK(heads.num_key_value_heads == heads.num_attention_heads);
    CHECK(heads.num_hidden_layers == scale.after.num_hidden_layers);
    CHECK(heads.dropout == 0);
  }
  CHECK(small.source.vocabulary == static_cast<Token>(small.after.vocab_size));
  CHECK_THROWS_MATCHES(read_scale("medium", fixtures), InputError,
                       MessageMatches(ContainsSubstring("there are full, small")));
}

TEST_CASE("repeater: it goes on where it was, and comes to the same", "[experiment]") {
  const TemporaryDirectory one, other;
  const auto whole = run_repeater(shortest(one.path()), silent);
  REQUIRE(whole["runs"].size() == 34);
  // Half of it done, one run begun.
  const auto options = shortest(other.path());
  std::filesystem::create_directories(other.path() / "runs");
  std::size_t kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(one.path() / "runs"))
    if (entry.path().extension() == ".json" && kept++ % 2 == 0)
      std::filesystem::copy(entry.path(), other.path() / "runs" / entry.path().filename());
  std::size_t begun_with = 0;
  bool first = true;
  const auto again = run_repeater(options, [&](double, std::size_t runs, std::size_t) {
    if (std::exchange(first, false)) begun_with = runs;
  });
  CHECK(begun_with == 17);
  CHECK(without_times(whole) == without_times(again));
  // What was finished is read again, and nothing is trained.
  CHECK(without_times(run_repeater(options, silent)) == without_times(whole));
  auto another = options;
  another.scale.optimiser.learning_rate *= 2;
  CHECK_THROWS_MATCHES(run_repeater(another, silent), InputError,
                       MessageMatches(ContainsSubstring("is of another experiment")));
  // Edited results are none, even with the right fingerprint.
  const auto place = other.path() / "runs" / "BBBBB-1.json";
  const auto good = parse_json(read_text(place, 1 << 20), "it");
  for (const auto& path :
       {"/writes/greedy/looping/value", "/gradient_norm/median", "/curve", "/levels/mask", "/name"}) {
    auto edited = good;
    at_pointer(edited, path) = nullptr;
    std::ofstream(place) << edited.dump();
    CAPTURE(path);
    CHECK_THROWS_MATCHES(run_repeater(options, silent), InputError,
                         MessageMatches(ContainsSubstring("BBBBB-1.json")));
  }
  std::ofstream(place) << "{";
  CHECK_THROWS_AS(run_repeater(options, silent), InputError);

  auto document = whole;
  document["program"] = document["command"] = document["device"] = "here";
  conclude_repeater(document);
  CHECK(document["effects"].size() == 6 * (15 + 4 + 4));
  CHECK(document["claims"].size() == 3);
  CHECK_THAT(repeater_report(document), ContainsSubstring("| BBBBB-1 |"));
  CHECK_THAT(repeater_summary(document), ContainsSubstring("CLAIM-h"));
  for (const auto& picture : {repeater_curves(document), repeater_effects(document)}) {
    CHECK_THAT(picture, ContainsSubstring("<svg"));
    CHECK(picture.find("nan") == std::string::npos);
  }
}

TEST_CASE("repeater: a diverging run is named, with its step, and what was done is kept", "[experiment]") {
  const TemporaryDirectory directory;
  auto options = shortest(directory.path());
  options.scale.optimiser.learning_rate = 1e30;
  CHECK_THROWS_MATCHES(run_repeater(options, silent), InputError,
                       MessageMatches(ContainsSubstring("run ") && ContainsSubstring(": step ")));
}

TEST_CASE("repeater: somebody's tokens take the place of the source", "[experiment]") {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "tokens.jsonl";
  write_tokens(file, 60);
  const auto corpus = token_corpus(file, 48);
  CHECK(corpus->vocabulary() == 80);
  CHECK_FALSE(corpus->entropy_rate().has_value());
  CHECK(corpus->training_batch(1, 0, 2, 24).tokens.equal(corpus->training_batch(1, 0, 2, 24).tokens));
  CHECK_FALSE(corpus->training_batch(1, 0, 2, 24).tokens.equal(corpus->training_batch(1, 1, 2, 24).tokens));
  CHECK_FALSE(corpus->training_batch(1, 0, 2, 24).floor.has_value());
  // The text after a prompt is that after the same prompt.
  const auto text = corpus->held_out_text(4, 48), prompt = corpus->held_out_text(4, 6);
  CHECK(std::equal(prompt.begin(), prompt.end(), text.begin()));
  auto options = shortest(directory.path() / "out");
  options.tokens = file.string();
  auto document = run_repeater(options, silent);
  CHECK(document["text"]["vocabulary"] == 80);
  CHECK_FALSE(document["own_text"].contains("greedy"));
  conclude_repeater(document);
  CHECK_THAT(repeater_report(document), ContainsSubstring("their entropy is not known"));
  CHECK(repeater_curves(document).find("of the text itself") == std::string::npos);

  write_tokens(file, 3);
  CHECK_THROWS_MATCHES(token_corpus(file, 24), InputError,
                       MessageMatches(ContainsSubstring("a hundred windows of 24")));
}

TEST_CASE("corpus: training, held-out text and prompts share nothing", "[experiment]") {
  const auto corpus = source_corpus(read_scale("small", fixtures).source);
  const auto training = corpus->training_batch(1, 0, 4, 32), later = corpus->training_batch(1, 1, 4, 32),
             held_out = corpus->held_out_batch(0, 4, 32);
  CHECK_FALSE(training.tokens.equal(later.tokens));
  CHECK_FALSE(training.tokens.equal(held_out.tokens));
  CHECK_FALSE(training.tokens.equal(corpus->training_batch(2, 0, 4, 32).tokens));
  // The floor is that of what is predicted: every token but the first of each row.
  const Source source(read_scale("small", fixtures).source);
  double floor = 0;
  for (std::int64_t row = 0; row < 4; ++row) {
    std::vector<Token> ids;
    for (std::int64_t t = 0; t < 32; ++t)
      ids.push_back(static_cast<Token>(training.tokens[row][t].item<std::int64_t>()));
    const auto p = source.log_probabilities(ids);
    for (std::size_t t = 1; t < p.size(); ++t) floor -= p[t] / (4 * 31);
  }
  CHECK(std::abs(*training.floor - floor) < 1e-12);
  const auto text = corpus->held_out_text(3, 40);
  const auto beginning = corpus->held_out_text(3, 16);
  CHECK(std::equal(beginning.begin(), beginning.end(), text.begin()));
  CHECK(corpus->likeliest_continuation(beginning, 5).size() == 5);
}

TEST_CASE("repeater: when a curve is too low is read from the record's", "[experiment]") {
  const auto file = fixtures / "repeater" / "small-result.json";
  const auto record = parse_json(read_text(file, 1 << 24), file.string());
  const double even = std::log(record["text"]["vocabulary"].get<double>());
  int sound = 0, leaking = 0;
  double lowest = 1e9, highest = 0;
  for (const auto& run : record["runs"]) {
    const auto curve = run["curve"].get<std::vector<double>>();
    if (run["levels"]["mask"] == "after") {
      ++sound;
      lowest = std::min(lowest, *std::min_element(curve.begin(), curve.end()) / even);
    } else {
      ++leaking;
      highest = std::max(highest, curve.back() / even);
    }
  }
  CAPTURE(lowest, highest);
  CHECK(kSpeedCalibration.sound_runs == sound);
  CHECK(kSpeedCalibration.leaking_runs == leaking);
  CHECK(std::abs(kSpeedCalibration.sound_lowest - lowest) < 0.005);
  CHECK(std::abs(kSpeedCalibration.leaking_highest - highest) < 0.0005);
  CHECK(kSpeedCalibration.too_low < lowest / 2);
  CHECK(kSpeedCalibration.too_low > highest * 2);
  // What is concluded from its runs now is what it says.
  auto again = record;
  conclude_repeater(again);
  CHECK(again["claims"] == record["claims"]);
  CHECK(again["answers"] == record["answers"]);
}

TEST_CASE("repeater: the models of the full scale train in bfloat16", "[experiment][long]") {
  const auto scale = read_scale("full", fixtures);
  REQUIRE(scale.compute == at::kBFloat16);
  const auto corpus = source_corpus(scale.source);
  for (const bool before : {false, true}) {
    INFO((before ? "before" : "after"));
    Recipe recipe{.model = {model_of(scale, {before, before, before, before, before}), {}}};
    recipe.steps = 2;
    recipe.optimiser = scale.optimiser;
    recipe.compute = scale.compute;
    Trainer trainer(recipe);
    for (std::int64_t step = 0; step < recipe.steps; ++step)
      trainer.step(corpus->training_batch(1, step, 1, 24).tokens);
    const auto& losses = trainer.history().losses;
    if (before)
      CHECK(losses[0] > 20);  // of a standard normal matrix that is the head, too
    else
      CHECK(std::abs(losses[0] - std::log(6400.0)) < 0.5);
    CHECK(std::isfinite(losses[1]));
    CHECK(recipe.model.specification.parameter_count() > 25'000'000);
  }
}
