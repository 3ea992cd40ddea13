// The candidate under test, its weights, and the reference's exact and rounded passes on the same weights.
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
#include "harness/judging/covering.hpp"
#include "harness/judging/recorder.hpp"

namespace plumbline {

// Tolerances after many stages are this multiple of the reference's own rounding error. Correct variants stay
// an order of magnitude below.
constexpr double kNoiseFactor = 32;
// The same for the root mean square over a tensor, which varies far less than its largest element.
constexpr double kRootMeanSquareFactor = 4;

// How probes are drawn.
struct ProbeOptions {
  std::uint32_t seed = 1;      // of the weights, the tokens and LibTorch's generator
  std::int64_t longest = 604;  // tokens of the longest pass
};

class Subject {
 public:
  Subject(Candidate& candidate, Specification specification, std::optional<Golden> golden,
          std::filesystem::path fixtures, Recorder& recorder, ProbeOptions probes = {});

  const Specification& specification() const { return specification_; }  // what the candidate claims to be
  Candidate& candidate() { return candidate_; }
  // Whether the candidate declares that it can do this (see Candidate::capabilities).
  bool can(const std::string& capability) const { return capabilities_.contains(capability); }
  const Description& description() const { return candidate_.describe(); }
  const std::optional<Golden>& golden() const { return golden_; }
  const std::filesystem::path& fixtures() const { return fixtures_; }
  Recorder& recorder() { return recorder_; }
  const ProbeOptions& probes() const { return probes_; }

  // The candidate with the discriminating weights loaded. Errors: NotShown.
  Candidate& running();
  // The discriminating weights or, of a candidate that cannot load weights, its own: float32 on the CPU.
  // Parameters that the candidate lacks have values that make them void (see void_parameters.hpp). Errors:
  // NotShown where a candidate that cannot load weights lacks one that has no such value.
  const Weights& weights();
  // The specification's parameters that the candidate does not have.
  const std::set<std::string>& missing_parameters() const { return missing_parameters_; }
  // Replaces weights(), by canonical name.
  void use_weights(Weights weights);
  // Replaces stages in observed passes of a reference; empty: none.
  void replace_stages(Replacement replacement) { replacement_ = std::move(replacement); }
  const Replacement& replacement() const { return replacement_; }
  // Measures rounding on the reference with these weights, where the candidate's do not fit the
  // specification.
  void use_weights_for_rounding(Weights weights);
  bool has_weights_for_rounding() const { return rounding_weights_.has_value(); }
  // Notes how many tokens of the probe "longest" it takes to go wrong; the diagnosis then runs so many.
  void note_wrong_length(std::int64_t tokens) { wrong_length_ = tokens; }
  std::optional<std::int64_t> wrong_length() const { return wrong_length_; }
  // Notes a way (see ways.hpp) in which it is wrong; it is then located, and the diagnosis has to explain it.
  void note_wrong_way(CoveringRow way) { wrong_ways_.push_back(std::move(way)); }
  const std::vector<CoveringRow>& wrong_ways() const { return wrong_ways_; }
  // Calls `body` with other weights loaded; the next running() loads weights() again.
  void with_weights(const Weights& weights, const std::function<void(Candidate&)>& body);

  // The reference model with the candidate's weights: in float64, and in the candidate's type. Their
  // difference is the rounding noise, the unit of tolerances.
  const Model& exact();
  const Model& rounded();
  // The weights of both, in float64 on the CPU.
  const Weights& exact_weights();

  // By how much two correct evaluations of a stage of this kind may differ.
  Tolerance noise(const std::string& kind, const at::Tensor& expected);

 private:
  void reset_reference_models();

  Candidate& candidate_;
  Specification specification_;
  std::optional<Golden> golden_;
  std::filesystem::path fixtures_;
  Recorder& recorder_;
  ProbeOptions probes_;
  std::set<std::string> capabilities_, missing_parameters_;
  std::optional<Weights> weights_, rounding_weights_;
  bool loaded_ = false;
  std::optional<std::int64_t> wrong_length_;
  std::vector<CoveringRow> wrong_ways_;
  Replacement replacement_;
  std::unique_ptr<Model> exact_, rounded_;
  std::optional<Weights> exact_weights_;
  struct Noise {
    double worst = 0, root_mean_square = 0;  // relative to the largest element, and to the root mean square
  };
  std::map<std::string, Noise> relative_noise_;  // by kind
};

// The stages of a full pass, in float64 on the CPU.
Stages stages_of(const Model& model, const Tokens& tokens);

}  // namespace plumbline
