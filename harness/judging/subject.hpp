// The candidate under judgement, the weights it is judged on, and what exact and rounded passes make of them.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/evidence/compare.hpp"
#include "harness/evidence/golden.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/judging/recorder.hpp"

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
  void use_weights(Weights weights);
  // What observed passes of a reference go on with after a stage; empty: with what they compute there.
  void replace_stages(Replacement replacement) { replacement_ = std::move(replacement); }
  const Replacement& replacement() const { return replacement_; }
  // Measures rounding on a reference with these weights: the candidate's own do not fit the specification.
  void measure_rounding_on(Weights weights);
  bool measures_elsewhere() const { return elsewhere_.has_value(); }
  // Runs `body` with other weights loaded, and loads the discriminating ones again.
  void with_weights(const Weights& weights, const std::function<void(Candidate&)>& body);

  // The specification's own model on the weights as the candidate holds them: in float64, and in the
  // candidate's type. Their difference is the rounding noise in which tolerances are given.
  const Model& exact();
  const Model& rounded();
  // The weights of both, in float64 on the CPU.
  const Weights& exact_weights();

  // What two honest evaluations of the same stage may differ by.
  Tolerance noise(const std::string& stage, const at::Tensor& expected);

 private:
  void forget_what_depends_on_weights();

  Candidate& candidate_;
  Specification specification_;
  std::optional<Golden> golden_;
  std::filesystem::path fixtures_;
  Recorder& recorder_;
  std::set<std::string> capabilities_, lacking_;
  std::optional<Weights> weights_, elsewhere_;
  bool loaded_ = false;
  Replacement replacement_;
  std::unique_ptr<Model> exact_, rounded_;
  std::optional<Weights> exact_weights_;
  struct Noise {
    double worst = 0, whole = 0;  // relative to the largest element, and to the root mean square
  };
  std::map<std::string, Noise> relative_noise_;
};

// What our own model shows of a full pass, in float64.
Stages stages_of(const Model& model, const Tokens& tokens);

// "scores" of "layers.3.scores".
std::string kind_of(const std::string& stage);

}  // namespace plumbline
