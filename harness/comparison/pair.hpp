// Two candidates side by side: what both are asked, and what becomes of their answers.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/judging/probes.hpp"
#include "harness/judging/subject.hpp"
#include "harness/judging/ways.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

constexpr auto kStepTooSmall = "in bfloat16 a step is smaller than the rounding of the parameter";
constexpr auto kRoundingDecides = "in bfloat16 rounding decides between tokens that are about equally likely";

// `other` against `one`. The same bits are the same whatever they are: a NaN, too, is one that both have.
reports::Check compare_two(const std::string& what, const at::Tensor& other, const at::Tensor& one,
                           const Tolerance& tolerance);

// Numbers are the same as numbers, 10000 and 1e4.
bool same_value(const Json& a, const Json& b);

struct Pair {
  Pair(Subject& first, Subject* second) : one(first), other(second) {}

  Subject& one;
  Subject* other;
  reports::Localisation place;  // where they differ
  std::optional<bool> weights_agree;
  bool shared = false;                                         // the one's weights are the other's already
  std::optional<std::map<std::string, std::string>> renamed_;  // see renamed()
  std::string first_bits;  // the first stage whose bits differ, and in which mode

  // Of the requirement at hand.
  int compared = 0, identical = 0;
  double nearest = -1;
  std::string nearest_what;
  double unseen = 0;  // the largest share of the largest logit that rounding may explain

  bool can(const std::string& capability) const {
    return capability.empty() || (one.can(capability) && (other == nullptr || other->can(capability)));
  }

  // The one of the two that alone can do this; nullptr where both can, or neither.
  Subject* alone(const std::string& capability) const {
    if (other == nullptr || one.can(capability) == other->can(capability)) return nullptr;
    return one.can(capability) ? &one : other;
  }

  // Errors: NotShown where one alone has what nothing else that it shows could stand for.
  void of_both(const std::string& capability, const std::string& words);

  template <typename Ask>
  auto ask(Subject& whom, const Ask& question) {
    try {
      return question(whom);
    } catch (const NotShown& why) {
      const auto& name = whom.description().name;
      const std::string message = why.what();
      throw NotShown(message.find(name) == std::string::npos ? fmt::format("{}: {}", name, message)
                                                             : message);
    }
  }

  // Asks both the same; `judge` takes the answers, of the one and of the other.
  template <typename Ask, typename Judge>
  void both(const Ask& question, const Judge& judge) {
    const auto first = ask(one, question);
    if (other == nullptr) return;
    const auto second = ask(*other, question);
    judge(first, second);
  }

  // Asks each of the two what it has: the one that can do it in this way, and the other what stands for it.
  template <typename Ask, typename Judge>
  void both_or_stand_in(const std::string& needs, const Ask& question, const Ask& stand_in,
                        const Judge& judge) {
    if (other == nullptr) {  // a recording is to be compared with those that can, and with those that cannot
      if (can(needs)) ask(one, question);
      ask(one, stand_in);
      return;
    }
    if (!one.can(needs) && !other->can(needs)) return;
    const auto first = ask(one, one.can(needs) ? question : stand_in);
    const auto second = ask(*other, other->can(needs) ? question : stand_in);
    judge(first, second);
  }

  void record(reports::Check check);
  void expect_text(const std::string& what, const std::string& second, const std::string& first);

  static const std::string& name(const Subject& whom) { return whom.description().name; }

  // What the requirement's comparisons come to, in a line.
  void conclude();

  bool both_load() const { return one.can("load") && (other == nullptr || other->can("load")); }

  // Both on the same weights. Errors: NotShown where that cannot be had.
  void share_weights();

  // Candidates of another architecture than the specification's can be compared all the same; then rounding
  // is measured on the specification's, and nothing is replayed.
  void measure_rounding();

  bool weights_are_the_same();

  void configuration();

  // What two files of settings say under names that mean nothing to us.
  void unknown_settings();

  std::map<std::string, std::vector<std::int64_t>> shapes_of(Subject& whom) const;

  // Stored weights that have another name in the other, and hold the same: names of the one to the other's.
  const std::map<std::string, std::string>& renamed();

  // The first number in a name: its layer's.
  static std::string number_in(const std::string& name);

  void parameters();

  // In words, how a weight that is not bit for bit the other's is stored.
  std::string stored_as(const std::string& key, const at::Tensor& second, const at::Tensor& first);

  void stored_weights();

  static std::string some_of(const std::vector<std::string>& keys, std::int64_t all);

  void initialisation();

  void same_logits(const std::string& what, const at::Tensor& first, const at::Tensor& second,
                   const Tolerance& tolerance, bool far = false);

  void logits_of(const std::string& what, const std::string& needs,
                 const std::function<at::Tensor(Subject&)>& question);

  // Where one of the two alone can be run in this way, it is held to the other's full pass of the same
  // tokens.
  void logits_or_full_pass(const std::string& what, const std::string& needs,
                           const std::function<at::Tensor(Subject&)>& question,
                           const std::function<at::Tensor(Subject&)>& full);

  // Where rounding of angles goes further than the noise that is measured near the start, it is measured
  // there.
  Tolerance far_tolerance(const Tokens& tokens, const PassOptions& options, const at::Tensor& given);

  void far_logits();

  // Rotary positions are relative: what begins elsewhere gives what the same tokens give at the start. Of a
  // model that does otherwise, nothing that the other does tells whether it is right.
  void held_to_the_start(const Subject& who, const Tokens& tokens, const PassOptions& options);

  // The ways to run it that serve a requirement, by what they need.
  void logits_where(const std::function<bool(const std::string& needs)>& belongs);

  void evaluation();

  void training();

  void padding();

  // A sequence that is padded and alone in its batch.
  static at::Tensor padded_alone(Subject& subject, std::int64_t length, Padding side);

  void decoding();

  // What each of the two makes of its own inputs, apart from what the inputs call for: told by a float64
  // replay. `slack` is granted where neither is what they call for: their inputs then differ by rounding.
  std::optional<reports::Check> local_difference(const std::string& stage, const at::Tensor& first,
                                                 const std::optional<Replayed>& first_right,
                                                 const at::Tensor& second,
                                                 const std::optional<Replayed>& second_right);

  std::vector<reports::StageErrors> differences(const StageRun& run, const Stages& first,
                                                const Stages& second);

  void stages();

  void operations();

  void cache();

  void overrunning();

  void gradients();

  void training_steps();

  // Its text is held to the other's logits.
  void text_of_one(Subject& writer, Subject& judge);

  void own_texts();

  void speed();

  void memory();

  // With other weights loaded into both.
  reports::Check with_weights(const std::string& what, const Weights& weights);
};

}  // namespace plumbline
