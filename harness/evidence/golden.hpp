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

// A recorded pass: its tokens, and which positions were stored.
struct GoldenProbe {
  std::string name;
  Tokens tokens;
  at::Tensor positions;       // (R) int64: the stored indices of the T axis
  std::vector<Stage> stages;  // in execution order as stored
  bool has_cache = false;
  bool has_decode = false;
};

class Golden {
 public:
  // Loads golden/<name>.h5 after comparing its SHA-256 with golden/manifest.json, since HDF5's reader is not
  // safe for files of unknown origin. Empty when the manifest lists no file for this specification. Errors:
  // InputError naming file and object, for a missing or altered file, a dataset of wrong rank, type or name,
  // or another specification or weight scheme.
  static std::optional<Golden> load(const std::filesystem::path& directory,
                                    const Specification& specification);

  const std::vector<GoldenProbe>& probes() const;
  std::uint32_t seed() const;

  // float64; the T axis holds probe.positions' rows. Errors: InputError for an unknown name.
  at::Tensor stage(const GoldenProbe& probe, const Stage& stage) const;
  at::Tensor decode_logits(const GoldenProbe& probe) const;
  at::Tensor cached(const GoldenProbe& probe, std::int64_t layer, const std::string& keys_or_values) const;

  struct Rotation {
    at::Tensor positions;  // (P) int64
    at::Tensor vectors;    // (P, Dh) before
    at::Tensor rotated;    // (P, Dh) after
  };
  Rotation rotation() const;

  // The loss of a batch, and its directional derivatives along random_direction(PARAMETER, n, seed()), n = 0
  // .. directions - 1.
  struct Slopes {
    Tokens tokens;         // without padding
    at::Tensor labels;     // (B, T) int64: a token, or kIgnoredLabel
    at::Tensor loss;       // () float64
    Weights by_parameter;  // (directions) float64, for each parameter of the specification
    std::int64_t directions = 0;
  };
  // Empty where the file records no gradients. Errors: InputError for a missing or unknown parameter.
  // Tolerances: "gradients/loss", "gradients/slopes/PARAMETER".
  std::optional<Slopes> slopes() const;

  // The error of an independent float32 run of the oracle, from the manifest, which is the unit of tolerances
  // against golden tensors. `name`: "<probe>/<stage>", "rotation/rotated",
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
