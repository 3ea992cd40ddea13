#include "harness/model/pass_work.hpp"

namespace plumbline {
namespace {

constexpr double kCall = 2.5e-6;  // seconds to dispatch one operation
constexpr double kCallsOfLayer = 60, kCallsOfPass = 60, kCallsOfStep = 14;  // the last: of one parameter
constexpr double kRate = 4e10;     // floating operations a second, of large float32 matrices
constexpr double kStepRate = 1e9;  // elements a second that one operation goes through

}  // namespace

Work pass_work(const Specification& s, std::int64_t tokens, std::int64_t keys, at::ScalarType type) {
  const auto layers = static_cast<double>(s.num_hidden_layers), hidden = static_cast<double>(s.hidden_size);
  const double in_layers = layers * (2 * hidden * static_cast<double>(s.hidden_size + s.key_value_size()) +
                                     3 * hidden * static_cast<double>(s.intermediate_size));
  const double in_head = hidden * static_cast<double>(s.vocab_size);
  const double in_attention = layers * 2 * hidden * static_cast<double>(keys);
  const double operations = 2 * static_cast<double>(tokens) * (in_layers + in_head + in_attention);
  const double slower = type == at::kDouble ? 2 : 1;
  return Work((layers * kCallsOfLayer + kCallsOfPass) * kCall + operations * slower / kRate);
}

Work step_work(const Specification& s) {
  const auto parameters = static_cast<double>(s.parameters().size());
  return Work(kCallsOfStep * (parameters * kCall + static_cast<double>(s.parameter_count()) / kStepRate));
}

}  // namespace plumbline
