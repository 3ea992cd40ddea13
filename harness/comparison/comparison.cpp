#include "harness/comparison/comparison.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "harness/comparison/pair.hpp"
#include "harness/result/conclusion_of_stages.hpp"

namespace plumbline {

Comparison::Comparison(Subject& one, Subject* other) : pair_(new CandidatePair(one, other)) {}
Comparison::~Comparison() = default;

namespace {

using Capabilities = std::vector<std::pair<std::string, std::string>>;  // capability, and words for it

// Capabilities of one candidate alone that are compared with something of the other, and those that cannot
// be.
const Capabilities kWithStandIn = {{"cache", "a KV cache"},
                                   {"padding.right", "padding on the right"},
                                   {"padding.left", "padding on the left"},
                                   {"training", "a training mode"},
                                   {"first_position", "positions"},
                                   {"generate", "a loop that writes text"}};
const Capabilities kWithoutStandIn = {{"gradients", "gradients"}, {"train", "steps of training"}};

// Declares the capabilities of both, each with those that have a stand-in. Returns sentences on the
// differences.
std::vector<std::string> declare_capabilities(CandidatePair& pair, bool runs_code) {
  std::vector<std::string> sentences;
  for (auto* subject : {&pair.one, pair.other}) {
    auto capabilities = subject->candidate().capabilities();
    const auto own = [&](const Capabilities& capabilities_and_words) {
      std::vector<std::string> words;
      for (const auto& [capability, description] : capabilities_and_words)
        if (runs_code && pair.alone(capability) == subject) words.push_back(description);
      return words;
    };
    for (const auto* capabilities_and_words : {&kWithStandIn, &kWithoutStandIn})
      for (const auto& [capability, words] : *capabilities_and_words)
        if (runs_code && pair.alone(capability) != nullptr) capabilities.insert(capability);
    const auto& name = pair.name(*subject);
    pair.one.recorder().declare(capabilities, name);
    if (const auto held = own(kWithStandIn); !held.empty())
      sentences.push_back(fmt::format("only {} has {}; this was compared with plain passes of the other",
                                      name, fmt::join(held, ", ")));
    if (const auto left = own(kWithoutStandIn); !left.empty())
      sentences.push_back(
          fmt::format("only {} has {}; these were not compared", name, fmt::join(left, ", ")));
  }
  return sentences;
}

void exclude_given_weights(CandidatePair& pair, bool runs_code) {
  auto& recorder = pair.one.recorder();
  if (runs_code && (pair.one.can("load") || pair.other->can("load")))
    recorder.exclude("SAME-3", pair.both_can_load() ? "both were given the same weights"
                                                    : "one was given the other's weights");
  for (auto* subject : {&pair.one, pair.other})
    if (!runs_code && subject->can("load"))
      recorder.exclude("SAME-3", fmt::format("{} holds whatever weights it is given", pair.name(*subject)));
}

void exclude_what_is_missing(CandidatePair& pair, bool runs_code) {
  auto& recorder = pair.one.recorder();
  const auto &first = pair.one.description().configuration, &second = pair.other->description().configuration;
  if (std::none_of(first.begin(), first.end(),
                   [&](const auto& entry) { return second.contains(entry.first); }))
    recorder.exclude("SAME-1", "there is no setting that both state");
  const auto either = [&](const char* capability) {
    return pair.one.can(capability) || pair.other->can(capability);
  };
  if (!either("padding.right") && !either("padding.left"))
    recorder.exclude("SAME-7", "neither of the two takes padding");
  if (!pair.can("repeat_kv") && !pair.can("rotate"))
    recorder.exclude("SAME-10", "there is no operation that both show");
  if (!runs_code) return;
  if (const auto* who = pair.alone("cache"))
    for (const auto* id : {"SAME-11", "SAME-12"})
      recorder.exclude(id, fmt::format("only {} has a KV cache; its logits are compared with full passes",
                                       pair.name(*who)));
  for (auto* subject : {&pair.one, pair.other})
    if (!subject->candidate().usage())
      for (const auto* id : {"SAME-14", "SAME-15"})
        recorder.exclude(id, fmt::format("{} is a recording: no code of it is run", pair.name(*subject)));
  if (pair.one.candidate().type() == at::kBFloat16) {
    recorder.exclude("SAME-16", kStepTooSmall);
    recorder.exclude("SAME-17", kRoundingDecides);
  }
}

// Whether both show a stage other than the logits.
bool have_common_stage(CandidatePair& pair) {
  pair.share_weights();
  bool found = false;
  pair.compare_answers([](Subject& subject) { return observe(subject, standard_probe(subject)); },
                       [&](const Stages& one, const Stages& other) {
                         std::int64_t common = 0;
                         for (const auto& [stage, value] : one) common += other.contains(stage) ? 1 : 0;
                         found = common > 1;
                       });
  return found;
}

}  // namespace

std::vector<std::string> Comparison::prepare() {
  auto& pair = *pair_;
  if (pair.other == nullptr) return {};
  const bool runs_code = pair.can("code");
  const auto alone = declare_capabilities(pair, runs_code);
  exclude_given_weights(pair, runs_code);
  exclude_what_is_missing(pair, runs_code);
  if (!runs_code) return alone;
  try {
    if (!have_common_stage(pair))
      pair.one.recorder().exclude("SAME-9", "the logits are the only stage that both show");
  } catch (const std::exception&) {  // look() reports it
  }
  return alone;
}

struct Comparison::Entry {
  const char* id;
  void (CandidatePair::*look)();
  bool runs;  // the code of the two
};

const std::vector<Comparison::Entry>& Comparison::entries() {
  static const std::vector<Entry> all = {
      {"SAME-1", &CandidatePair::compare_configuration, false},
      {"SAME-2", &CandidatePair::compare_parameters, false},
      {"SAME-3", &CandidatePair::compare_stored_weights, false},
      {"SAME-4", &CandidatePair::compare_initialisation, true},
      {"SAME-5", &CandidatePair::compare_evaluation, true},
      {"SAME-6", &CandidatePair::compare_training, true},
      {"SAME-7", &CandidatePair::compare_padding, true},
      {"SAME-8", &CandidatePair::compare_decoding, true},
      {"SAME-9", &CandidatePair::compare_stages, true},
      {"SAME-10", &CandidatePair::compare_operations, true},
      {"SAME-11", &CandidatePair::compare_cache, true},
      {"SAME-12", &CandidatePair::compare_overrun, true},
      {"SAME-13", &CandidatePair::compare_gradients, true},
      {"SAME-14", &CandidatePair::compare_speed, true},
      {"SAME-15", &CandidatePair::compare_memory, true},
      {"SAME-16", &CandidatePair::compare_training_steps, true},
      {"SAME-17", &CandidatePair::compare_generated_text, true},
  };
  return all;
}

void Comparison::look(const std::string& requirement) {
  auto& p = *pair_;
  p.compared = p.identical = 0;
  p.nearest = -1;
  p.rounding_share = 0;
  for (const auto& [id, look, runs] : entries()) {
    if (id != requirement) continue;
    if (runs) p.share_weights();
    if (runs && !p.one.has_weights_for_rounding()) p.measure_rounding();
    try {
      (p.*look)();
    } catch (const CacheOverrun& refusal) {
      throw std::runtime_error(refusal.what());  // not a failure: neither candidate is judged
    }
    p.record_summary();
    return;
  }
  throw std::logic_error("nothing looks at " + requirement);
}

void Comparison::ask_everything() {
  auto& p = *pair_;
  const auto ask = [](const auto& question) {
    try {
      question();
    } catch (const std::exception&) {
      return;  // it is recorded as an answer
    }
  };
  for (const auto& entry : entries()) ask([&] { (p.*entry.look)(); });
  ask([&] {
    if (p.one.can("load") && observe(p.one, standard_probe(p.one)).size() < 2)
      block_by_block(p.one, [&](const std::string& what, const Weights& weights) {
        return p.with_weights(what, weights);
      });
  });
}

reports::Localisation Comparison::localise() {
  auto& p = *pair_;
  auto& localisation = p.localisation;
  const bool located =
      first_locally_wrong(localisation) != nullptr || first_divergent(localisation) != nullptr;
  if (!located && !right_in(localisation.situations, "24 tokens") && p.both_can_load()) {
    const auto blocks = block_by_block(p.one, [&](const std::string& what, const Weights& weights) {
      return p.with_weights(what, weights);
    });
    localisation.situations.insert(localisation.situations.end(), blocks.begin(), blocks.end());
  }
  return localisation;
}

}  // namespace plumbline
