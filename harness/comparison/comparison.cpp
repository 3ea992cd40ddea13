#include "harness/comparison/comparison.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "harness/comparison/pair.hpp"
#include "harness/result/conclusion_of_stages.hpp"

namespace plumbline {

Comparison::Comparison(Subject& one, Subject* other) : pair_(new Pair(one, other)) {}
Comparison::~Comparison() = default;

namespace {

using Ways = std::vector<std::pair<std::string, std::string>>;  // capability, and what has it

// What one alone can do is held to what the other does have. Nothing stands for gradients and training.
const Ways kHeldToTheOther = {{"cache", "a KV cache"},
                              {"padding.right", "padding on the right"},
                              {"padding.left", "padding on the left"},
                              {"training", "a training mode"},
                              {"first_position", "positions"},
                              {"generate", "a loop that writes text"}};
const Ways kWithoutStandIn = {{"gradients", "gradients"}, {"train", "steps of training"}};

// Declares what the two can do, so that what one alone can do is looked at, too. Returns sentences on that.
std::vector<std::string> declare_capabilities(Pair& pair, bool runs_code) {
  std::vector<std::string> sentences;
  for (auto* subject : {&pair.one, pair.other}) {
    auto capabilities = subject->candidate().capabilities();
    const auto own = [&](const Ways& ways) {
      std::vector<std::string> words;
      for (const auto& [way, said] : ways)
        if (runs_code && pair.alone(way) == subject) words.push_back(said);
      return words;
    };
    for (const auto* ways : {&kHeldToTheOther, &kWithoutStandIn})
      for (const auto& [way, words] : *ways)
        if (runs_code && pair.alone(way) != nullptr) capabilities.insert(way);
    const auto& name = pair.name(*subject);
    pair.one.recorder().declare(capabilities, name);
    if (const auto held = own(kHeldToTheOther); !held.empty())
      sentences.push_back(fmt::format("{} alone has {}, compared with what the other has instead", name,
                                      fmt::join(held, ", ")));
    if (const auto left = own(kWithoutStandIn); !left.empty())
      sentences.push_back(
          fmt::format("{} alone has {}, which were not compared", name, fmt::join(left, ", ")));
  }
  return sentences;
}

void exclude_what_is_given(Pair& pair, bool runs_code) {
  auto& recorder = pair.one.recorder();
  if (runs_code && (pair.one.can("load") || pair.other->can("load")))
    recorder.exclude("SAME-3", pair.both_load() ? "both were given the same weights"
                                                : "one was given the other's weights");
  for (auto* subject : {&pair.one, pair.other})
    if (!runs_code && subject->can("load"))
      recorder.exclude("SAME-3", fmt::format("{} holds whatever weights it is given", pair.name(*subject)));
}

void exclude_what_neither_has(Pair& pair, bool runs_code) {
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
      recorder.exclude(
          id, fmt::format("{} alone has a KV cache; what it gives is held to full passes", pair.name(*who)));
  for (auto* subject : {&pair.one, pair.other})
    if (!subject->candidate().usage())
      for (const auto* id : {"SAME-14", "SAME-15"})
        recorder.exclude(id, fmt::format("{} is a recording, of which nothing is run", pair.name(*subject)));
  if (pair.one.candidate().type() == at::kBFloat16) {
    recorder.exclude("SAME-16", kStepTooSmall);
    recorder.exclude("SAME-17", kRoundingDecides);
  }
}

// A stage that both show, apart from the logits.
bool stage_in_common(Pair& pair) {
  pair.share_weights();
  bool found = false;
  pair.both([](Subject& subject) { return observe(subject, standard_probe(subject)); },
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
  exclude_what_is_given(pair, runs_code);
  exclude_what_neither_has(pair, runs_code);
  if (!runs_code) return alone;
  try {
    if (!stage_in_common(pair))
      pair.one.recorder().exclude("SAME-9", "the two have no stage in common that both show but the logits");
  } catch (const std::exception&) {  // whoever looks will say it
  }
  return alone;
}

struct Comparison::Entry {
  const char* id;
  void (Pair::*look)();
  bool runs;  // the code of the two
};

const std::vector<Comparison::Entry>& Comparison::entries() {
  static const std::vector<Entry> all = {
      {"SAME-1", &Pair::configuration, false},  {"SAME-2", &Pair::parameters, false},
      {"SAME-3", &Pair::stored_weights, false}, {"SAME-4", &Pair::initialisation, true},
      {"SAME-5", &Pair::evaluation, true},      {"SAME-6", &Pair::training, true},
      {"SAME-7", &Pair::padding, true},         {"SAME-8", &Pair::decoding, true},
      {"SAME-9", &Pair::stages, true},          {"SAME-10", &Pair::operations, true},
      {"SAME-11", &Pair::cache, true},          {"SAME-12", &Pair::overrunning, true},
      {"SAME-13", &Pair::gradients, true},      {"SAME-14", &Pair::speed, true},
      {"SAME-15", &Pair::memory, true},         {"SAME-16", &Pair::training_steps, true},
      {"SAME-17", &Pair::own_texts, true},
  };
  return all;
}

void Comparison::look(const std::string& requirement) {
  auto& p = *pair_;
  p.compared = p.identical = 0;
  p.nearest = -1;
  p.unseen = 0;
  for (const auto& [id, look, runs] : entries()) {
    if (id != requirement) continue;
    if (runs) p.share_weights();
    if (runs && !p.one.measures_elsewhere()) p.measure_rounding();
    try {
      (p.*look)();
    } catch (const CacheOverrun& refusal) {
      throw std::runtime_error(refusal.what());  // of one of two, of which neither is judged
    }
    p.conclude();
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
      return;  // the recording has it
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
  auto& place = p.place;
  const bool told = first_locally_wrong(place) != nullptr || first_divergent(place) != nullptr;
  if (!told && !right_in(place.situations, "24 tokens") && p.both_load()) {
    const auto blocks = block_by_block(p.one, [&](const std::string& what, const Weights& weights) {
      return p.with_weights(what, weights);
    });
    place.situations.insert(place.situations.end(), blocks.begin(), blocks.end());
  }
  return place;
}

}  // namespace plumbline
