// Training for experiments: the reference model with a schedule, gradient clipping and mixed precision.
// Independent of the reference's training steps (harness/model/training_steps.hpp), with which a test
// compares it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/model/departures/departures.hpp"
#include "harness/model/training_steps.hpp"

namespace plumbline {

struct Recipe {
  DepartedModel model;  // what is trained: a departure of the mask is the mistake that is studied
  double dropout = 0;
  std::int64_t steps = 0;
  std::int64_t warm_up = 0;  // steps over which the learning rate rises from 0; then a cosine down to a tenth
  double clip = 1;           // the most that all gradients together may measure (Pascanu et al. 2013)
  AdamW optimiser = {};      // learning_rate: the highest
  std::uint32_t seed = 1;    // of the initialisation and of dropout
  at::ScalarType compute = at::kFloat;  // the type of a pass; parameters and moments are float32
  at::Device device = at::kCPU;
};

// Of step `step` (from 0) of `steps`.
double learning_rate(const Recipe& recipe, std::int64_t step);

// For each step so far, the loss before it and the norm of all gradients before clipping.
struct TrainingHistory {
  std::vector<double> losses, norms;
  std::int64_t steps() const { return static_cast<std::int64_t>(losses.size()); }
};

class Trainer {
 public:
  explicit Trainer(Recipe recipe);
  ~Trainer();

  // One step on a batch (B, T) int64 that is text and labels at once. Errors: InputError where the loss or a
  // gradient is no finite number, with step and parameter; the parameters are then as before.
  void step(const at::Tensor& tokens);
  const TrainingHistory& history() const;
  bool done() const;
  // The parameters as they are, float32 on the CPU.
  Weights weights() const;
  // In evaluation or training mode without dropout: the loss on each of some batches (N, B, T), its mean.
  double loss_on(const at::Tensor& tokens, bool training) const;

  // Saves and loads the state. `fingerprint` identifies model and data; another one is refused. Errors:
  // InputError.
  void save(const std::filesystem::path& file, const std::string& fingerprint) const;
  void load(const std::filesystem::path& file, const std::string& fingerprint);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plumbline
