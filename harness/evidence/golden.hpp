// The golden tensors: float64 HDF5 written by golden/oracle, which shares no code with the model.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/evidence/compare.hpp"
#include "harness/model/gradients.hpp"
#include "harness/model/model.hpp"

namespace plumbline {

// One recorded run: its tokens, and which rows of the T axis were kept.
struct GoldenProbe {
  std::string name;
  Tokens tokens;
  at::Tensor positions;             // (R) int64: the stored rows of the T axis
  std::vector<std::string> stages;  // in execution order as stored
  bool has_cache = false;
  bool has_decode = false;
};

class Golden {
 public:
  // Opens golden/<name>.h5 after its SHA-256 agreed with golden/manifest.json: HDF5's reader is not safe on a
  // file of unknown origin. Errors: InputError naming file, object and expectation for a missing or altered
  // file, a dataset of wrong rank, type or name, a specification or weight scheme that is not this one. Empty
  // when the manifest lists no file for this specification.
  static std::optional<Golden> open(const std::filesystem::path& directory,
                                    const Specification& specification);

  const std::vector<GoldenProbe>& probes() const;
  std::uint32_t seed() const;

  // float64; the T axis holds probe.positions' rows. Errors: InputError for an unknown name.
  at::Tensor stage(const GoldenProbe& probe, const std::string& stage) const;
  at::Tensor decode_logits(const GoldenProbe& probe) const;
  at::Tensor cached(const GoldenProbe& probe, std::int64_t layer, const std::string& keys_or_values) const;

  struct Rotation {
    at::Tensor positions;  // (P) int64
    at::Tensor vectors;    // (P, Dh) before
    at::Tensor rotated;    // (P, Dh) after
  };
  Rotation rotation() const;

  // One batch's loss, and its slopes along random_direction(PARAMETER, 0 ... directions - 1, seed()).
  struct Slopes {
    Tokens tokens;         // without padding
    at::Tensor labels;     // (B, T) int64: a token, or kIgnored
    at::Tensor loss;       // float64, no dimensions
    Weights by_parameter;  // (directions) float64, for each parameter of the specification
    std::int64_t directions = 0;
  };
  // Nothing where the file records no gradients. Errors: InputError for a missing parameter or one that this
  // model does not have, and as for probes. Tolerances: "gradients/loss", "gradients/slopes/PARAMETER".
  std::optional<Slopes> slopes() const;

  // What an independent float32 run of the oracle's formulas erred by there, from the manifest: the unit in
  // which tolerances against goldens are given. `name`: "<probe>/<stage>", "rotation/rotated",
  // "gradients/loss", "gradients/slopes/<parameter>".
  struct Float32Error {
    double error = 0;    // largest |float32 - float64|
    double largest = 0;  // largest |float64|
  };
  Float32Error float32_error(const std::string& name) const;
  // 100 times the sum of that error and one rounding of the largest value; exact where a float32 run made no
  // error.
  Tolerance tolerance(const std::string& name) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace plumbline
