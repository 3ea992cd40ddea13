// What every suite is written with: the subject under judgement, and checks that record what they saw.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/evidence/compare.hpp"
#include "harness/evidence/golden.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/judging/recorder.hpp"

// A test of the requirement `id` of fixtures/requirements.json. The tag ties the two together.
#define REQUIREMENT(id, title) TEST_CASE(id ": " title, "[" id "]")

namespace plumbline {

// Tolerances on what has come through many stages are so many times the rounding error that the reference
// itself makes there: honest variants stay an order of magnitude below.
constexpr double kNoiseFactor = 32;
// The same of the root mean square over a whole tensor, which varies far less than its worst element.
constexpr double kWholeFactor = 4;

class Subject {
 public:
  Subject(Candidate& candidate, Specification specification, std::optional<Golden> golden,
          std::filesystem::path fixtures, Recorder& recorder);

  const Specification& specification() const { return specification_; }  // what the candidate claims to be
  Candidate& candidate() { return candidate_; }
  // Whether the candidate declares that it can do this (see Candidate::capabilities).
  bool can(const std::string& capability) const { return capabilities_.contains(capability); }
  const Description& description() const { return candidate_.describe(); }
  const std::optional<Golden>& golden() const { return golden_; }
  const std::filesystem::path& fixtures() const { return fixtures_; }
  Recorder& recorder() { return recorder_; }

  // The candidate with the discriminating weights loaded. Errors: NotShown.
  Candidate& running();
  // The discriminating weights, float32 on the CPU; of a candidate that cannot load any, its own. What the
  // candidate lacks is void in them. Errors: NotShown where it cannot load any and what it lacks has no such
  // value.
  const Weights& weights();
  // The specification's parameters that the candidate does not have.
  const std::set<std::string>& lacking() const { return lacking_; }
  // Loads these from now on, by canonical name.
  void use_weights(Weights weights) { weights_ = std::move(weights), loaded_ = false; }
  // Measures rounding on a reference with these weights: the candidate's own do not fit the specification.
  void measure_rounding_on(Weights weights);
  bool measures_elsewhere() const { return elsewhere_.has_value(); }
  // Runs `body` with other weights loaded, and loads the discriminating ones again.
  void with_weights(const Weights& weights, const std::function<void(Candidate&)>& body);

  // The specification's own model on the weights as the candidate holds them: in float64, and in the
  // candidate's type. Their difference is the rounding noise in which tolerances are given.
  const Model& exact();
  const Model& rounded();

  // What two honest evaluations of the same stage may differ by.
  Tolerance noise(const std::string& stage, const at::Tensor& expected);

 private:
  Candidate& candidate_;
  Specification specification_;
  std::optional<Golden> golden_;
  std::filesystem::path fixtures_;
  Recorder& recorder_;
  std::set<std::string> capabilities_, lacking_;
  std::optional<Weights> weights_, elsewhere_;
  bool loaded_ = false;
  std::unique_ptr<Model> exact_, rounded_;
  struct Noise {
    double worst = 0, whole = 0;  // relative to the largest element, and to the root mean square
  };
  std::map<std::string, Noise> relative_noise_;
};

// The subject of this run.
Subject& subject();
void set_subject(Subject* subject);

// Token batches of the running specification, deterministic.
Tokens probe(const std::string& name, std::int64_t batch, std::int64_t length);
Tokens standard_probe();  // 1 x 24, no dimension of any specification
Tokens rows(const Tokens& tokens, std::int64_t row);

// What our own model shows of a full pass, in float64.
Stages stages_of(const Model& model, const Tokens& tokens);

// A pass in training mode, dropout 0.
PassOptions in_training();

// Running the candidate.
at::Tensor logits(const Tokens& tokens, PassOptions options = {});  // (B, T, V)
Stages observe(const Tokens& tokens, PassOptions options = {});
// The same tokens through the cache, in chunks of the given sizes: the logits of all, and the stages joined
// so that they read like those of one full pass.
at::Tensor cached_logits(const Tokens& tokens, const std::vector<std::int64_t>& chunks);
Stages observe_cached(const Tokens& tokens, const std::vector<std::int64_t>& chunks);
std::vector<std::int64_t> one_by_one(std::int64_t prefill, std::int64_t length);
// `sequence` in the middle of two others, of which one is as long as `width` and the other a little shorter,
// padded to that on one side; its own logits.
at::Tensor padded_logits(const Tokens& sequence, std::int64_t width, Padding side, PassOptions options = {});

// Which keys each query of a batch without padding may see: (B, 1, T, T) bool.
at::Tensor allowed_in(const Tokens& tokens);

// "scores" of "layers.3.scores".
std::string kind_of(const std::string& stage);

// A stage in float64. Errors: NotShown when it was not shown.
at::Tensor shown(const Stages& stages, const std::string& name);

// Checks. Each records what it saw under the running requirement and fails the test where it does not hold.
void expect(reports::Check check);
void expect_close(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                  const Tolerance& tolerance);
void expect_equal(const std::string& what, const std::string& actual, const std::string& expected);
void expect_equal(const std::string& what, std::int64_t actual, std::int64_t expected);
// The largest difference is at least `least`: something must show.
void expect_differs(const std::string& what, const at::Tensor& one, const at::Tensor& other, double least,
                    const std::string& why);
void expect_that(bool holds, const std::string& what, const std::string& actual, const std::string& expected);
// `actual` is `right` within the tolerance. A probe on which right and a known wrong cannot be told apart, at
// least ten times the tolerance, is an error of the evidence and not a pass.
void expect_told_apart(const std::string& what, const at::Tensor& actual, const at::Tensor& right,
                       const std::vector<std::pair<std::string, at::Tensor>>& wrong,
                       const Tolerance& tolerance);
// What a stage should be for the inputs that were shown, with each element's own bound. Errors: NotShown.
Replayed replayed(const std::string& stage, const Stages& shown, const Tokens& tokens,
                  std::int64_t first_position = 0);
// Every shown stage of these names, in every layer, is what its own inputs call for.
void expect_replayed(const std::vector<std::string>& stages, const Stages& shown, const Tokens& tokens,
                     const std::string& mode, std::int64_t first_position = 0);

// The replay of a stage of a pass that was asked for outside a check; empty when its inputs were not shown.
std::optional<Replayed> try_replay(const std::string& stage, const Stages& shown, const Tokens& tokens,
                                   std::int64_t first_position = 0);

// The test ends here: the requirement could have been shown and was not.
[[noreturn]] void not_assessed(const std::string& reason);

}  // namespace plumbline
