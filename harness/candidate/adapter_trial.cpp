#include "harness/candidate/adapter_trial.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/candidate/mapping.hpp"
#include "harness/candidate/reference.hpp"
#include "harness/candidate/void_parameters.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

[[noreturn]] void refuse_adapter(const std::string& name, const std::string& complaint,
                                 const std::string& advice) {
  throw InputError(fmt::format("{}: the adapter {}: {}", name, complaint, advice));
}

// Whether a mapping has a line for the parameter.
bool is_proposed(const Json& lines, std::string name) {
  if (lines.contains(name)) return true;
  const std::string layers = "model.layers.";
  if (name.starts_with(layers))
    name.replace(layers.size(), name.find('.', layers.size()) - layers.size(), "{layer}");
  return lines.contains(name);
}

std::string python_literal(const Json& value) {
  auto text = value.dump();
  for (auto at = text.find(":true"); at != std::string::npos; at = text.find(":true"))
    text.replace(at, 5, ":True");
  std::string spaced;
  for (const char c : text) spaced += c == ':' || c == ',' ? std::string{c, ' '} : std::string(1, c);
  return spaced;
}

// Whether logits agree within `allowed`, which covers sums in another order. NaN has to be in the same
// places.
bool equal_within(const at::Tensor& actual, const at::Tensor& expected, double allowed) {
  if (actual.sizes() != expected.sizes()) return false;
  const auto difference = (actual - expected).to(at::kDouble).abs();
  return actual.isnan().equal(expected.isnan()) &&
         at::nan_to_num(difference, 0, 0, 0).max().item<double>() <= allowed;
}

}  // namespace

bool has_no_canonical_names(const Description& description, const Specification& specification) {
  return missing_parameters(specification, description.parameters).size() ==
         specification.parameters().size();
}

std::vector<std::string> describe_declaration(const Hello& hello, const Description& description,
                                              const Specification& specification) {
  std::vector<std::string> lines{description.notes.front()};
  std::int64_t total = 0;
  for (const auto& parameter : hello.parameters) total += c10::multiply_integers(parameter.shape);
  lines.push_back(fmt::format("{} tensors, {} parameters; the specification has {}", hello.parameters.size(),
                              total, specification.parameter_count()));
  std::vector<std::string> declared, others;
  for (const auto& name : all_code_capabilities())
    (hello.capabilities.contains(name) ? declared : others).push_back(name);
  lines.push_back(fmt::format("declares: {}", fmt::join(declared, ", ")));
  if (!others.empty())
    lines.push_back(fmt::format("does not declare, so not applicable: {}", fmt::join(others, ", ")));
  lines.push_back(fmt::format("shows: {}", hello.stages.empty()
                                               ? "no stage but the logits"
                                               : fmt::to_string(fmt::join(hello.stages, ", "))));
  std::vector<std::string> missing_settings;
  for (const auto& [name, setting] : specification_settings(specification, ""))
    if (!description.configuration.contains(name)) missing_settings.push_back(name);
  if (!missing_settings.empty())
    lines.push_back(
        fmt::format("its configuration does not state: {} (state it with Module(configuration={{...}}))",
                    fmt::join(missing_settings, ", ")));
  return lines;
}

std::vector<std::string> describe_mapping(const Hello& hello, const Description& description,
                                          const Specification& specification) {
  std::vector<std::string> lines;
  const auto expected = specification.parameters();
  const auto lacking = missing_parameters(specification, description.parameters);
  const bool has_none = lacking.size() == expected.size();
  const auto proposal = lacking.empty() ? Json::object() : propose_mapping(hello.parameters, specification);
  for (const auto& [name, shape] : expected)
    if (lacking.contains(name) && (!has_none || !is_proposed(proposal, name)))
      lines.push_back(fmt::format("no parameter is mapped to {}", name));
  for (const auto& parameter : description.parameters)
    if (!has_none && std::none_of(expected.begin(), expected.end(),
                                  [&](const auto& one) { return one.name == parameter.name; }))
      lines.push_back(fmt::format("surplus: {} [{}]", parameter.name, fmt::join(parameter.shape, ", ")));
  if (!proposal.empty()) {
    lines.emplace_back("a first mapping, guessed from names and shapes; check every line:");
    lines.emplace_back("    mapping={");
    for (const auto& [name, value] : proposal.items())
      lines.push_back(fmt::format("        \"{}\": {},", name, python_literal(value)));
    lines.emplace_back("    },");
  } else if (!lacking.empty()) {
    lines.emplace_back("no mapping could be proposed from the names");
  }
  return lines;
}

void check_loaded_weights(const NamedTensors& loaded, const Weights& shown, const std::string& name) {
  for (const auto& [parameter, given] : loaded)
    if (!shown.at(parameter).to(given.scalar_type()).equal(given))
      refuse_adapter(
          name, fmt::format("does not hold the weights that were loaded: '{}' comes back changed", parameter),
          "load has to copy every value into the parameter itself, and weights has to return it unchanged");
}

std::vector<std::string> check_answers(Candidate& candidate, const std::string& name, at::Device device,
                                       std::int64_t vocabulary) {
  const Tokens tokens{probe_tokens("adapter", 2, 5, vocabulary, 1), {}, Padding::none};
  const auto first = candidate.forward(tokens, {}), second = candidate.forward(tokens, {});
  // A GPU may add in another order each time.
  const double allowed = device.is_cpu() ? 0 : 1e-4 * first.abs().max().to(at::kDouble).item<double>();
  if (second.sizes() != first.sizes())
    refuse_adapter(name, "gives logits of another shape when it gets the same tokens again",
                   "do they depend on an earlier call?");
  if (!equal_within(second, first, allowed))
    refuse_adapter(name, "gives other logits when it gets the same tokens again",
                   "is dropout on in evaluation, a random number drawn, or a cache kept between calls?");
  if (first[0].equal(first[1]))
    refuse_adapter(name, "gives both sequences of a batch the same logits",
                   "does it pass the whole batch to the model?");
  const auto capabilities = candidate.capabilities();
  if (!capabilities.contains("training")) return {"answers alike", "takes whole batches"};
  PassOptions training;
  training.training = true;
  training.dropout = capabilities.contains("dropout") ? 0.5 : 0;
  candidate.forward(tokens, training);
  if (!equal_within(candidate.forward(tokens, {}), first, allowed))
    refuse_adapter(name, "gives other logits in evaluation after a pass in training mode",
                   "set the requested mode before each pass");
  return {"answers alike", "takes whole batches", "keeps evaluation apart from training"};
}

}  // namespace plumbline
