// Two candidates that are compared: the questions that both are asked, and the checks of their answers.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/judging/probes.hpp"
#include "harness/judging/run_modes.hpp"
#include "harness/judging/subject.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

constexpr auto kStepTooSmall = "in bfloat16 a step is smaller than the rounding of the parameter";
constexpr auto kRoundingDecides = "in bfloat16 rounding decides between tokens that are about equally likely";

// Compares `other` with `one`. Equal bits are equal, whatever they are; elements that are NaN in both are
// left out.
reports::Check compare_two(const std::string& what, const at::Tensor& other, const at::Tensor& one,
                           const Tolerance& tolerance);

// Whether two settings are equal; numbers by their value: 10000 and 1e4.
bool same_value(const Json& a, const Json& b);

struct CandidatePair {
  CandidatePair(Subject& first, Subject* second) : one(first), other(second) {}

  Subject& one;
  Subject* other;
  reports::Localisation localisation;  // of the first difference
  std::optional<bool> weights_agree;
  bool shared = false;  // whether both have the same weights loaded
  std::optional<std::map<std::string, std::string>> renamed_weights_;  // see renamed_weights()
  std::string first_bits;  // the first stage whose bits differ, and in which mode

  // Of the current requirement.
  int compared = 0, identical = 0;
  double nearest = -1;
  std::string nearest_what;
  double rounding_share = 0;  // the largest tolerance, relative to the largest logit

  bool can(const std::string& capability) const {
    return capability.empty() || (one.can(capability) && (other == nullptr || other->can(capability)));
  }

  // The only one of the two with this capability; nullptr where both have it, or neither.
  Subject* alone(const std::string& capability) const {
    if (other == nullptr || one.can(capability) == other->can(capability)) return nullptr;
    return one.can(capability) ? &one : other;
  }

  // Errors: NotShown where one alone has the capability; `words` name it.
  void require_both(const std::string& capability, const std::string& words);

  template <typename Ask>
  auto ask(Subject& subject, const Ask& question) {
    try {
      return question(subject);
    } catch (const NotShown& why) {
      const auto& name = subject.description().name;
      const std::string message = why.what();
      throw NotShown(message.find(name) == std::string::npos ? fmt::format("{}: {}", name, message)
                                                             : message);
    }
  }

  // Asks both the same question and passes the answers of `one` and `other` to `judge`.
  template <typename Ask, typename Judge>
  void compare_answers(const Ask& question, const Judge& judge) {
    const auto first = ask(one, question);
    if (other == nullptr) return;
    const auto second = ask(*other, question);
    judge(first, second);
  }

  // Asks `question` of those that have the capability and `stand_in` of the other.
  template <typename Ask, typename Judge>
  void compare_or_stand_in(const std::string& needs, const Ask& question, const Ask& stand_in,
                           const Judge& judge) {
    if (other == nullptr) {  // a recording needs both answers, whatever it is compared with
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

  static const std::string& name(const Subject& subject) { return subject.description().name; }

  // Records a summary of the current requirement's comparisons as a finding.
  void record_summary();

  bool both_can_load() const { return one.can("load") && (other == nullptr || other->can("load")); }

  // Loads the same weights into both. Errors: NotShown where that is not possible.
  void share_weights();

  // Where the candidates' architecture is not the specification's, measures rounding on the specification's
  // weights; stages are then not replayed.
  void measure_rounding();

  bool weights_are_equal();

  void compare_configuration();

  // Compares settings of config.json whose meaning is not known.
  void compare_unknown_settings();

  std::map<std::string, std::vector<std::int64_t>> shapes_of(Subject& subject) const;

  // Stored weights with the same values and another name: from names in `one` to names in `other`.
  const std::map<std::string, std::string>& renamed_weights();

  // The first number in a parameter's name, which is its layer's.
  static std::string first_number(const std::string& name);

  void compare_parameters();

  // How the storage of a weight differs, in words: see relation.hpp.
  std::string describe_storage(const std::string& key, const at::Tensor& second, const at::Tensor& first);

  void compare_stored_weights();

  static std::string describe_some(const std::vector<std::string>& keys, std::int64_t all);

  void compare_initialisation();

  void compare_logits(const std::string& what, const at::Tensor& first, const at::Tensor& second,
                      const Tolerance& tolerance, bool far = false);

  void compare_logits_of(const std::string& what, const std::string& needs,
                         const std::function<at::Tensor(Subject&)>& question);

  // Compares in a mode that takes a capability; the one without it is asked for a full pass of the same
  // tokens.
  void compare_with_full_pass(const std::string& what, const std::string& needs,
                              const std::function<at::Tensor(Subject&)>& question,
                              const std::function<at::Tensor(Subject&)>& full);

  void compare_far_positions();

  // Compares with a pass from position 0, since rotary positions are relative. A difference proves nothing:
  // the requirement is then not assessed.
  void compare_with_start(const Subject& who, const Tokens& tokens, const PassOptions& options);

  // Compares logits in those of logits_runs() whose capability satisfies `belongs`.
  void compare_modes_where(const std::function<bool(const std::string& needs)>& belongs);
  // Compares logits in those of ways() that both have and whose rarest capability satisfies `belongs`.
  void compare_ways_where(const std::function<bool(const std::string& needs)>& belongs);

  void compare_evaluation();
  void compare_large_activations();

  void compare_training();

  void compare_padding();

  // The logits of a padded sequence that is alone in its batch: (1, T, V).
  static at::Tensor padded_alone(Subject& subject, std::int64_t length, Padding side);

  void compare_decoding();

  // Compares the two errors of a stage against float64 replays of it on each one's own inputs. Empty where
  // there is no replay of both.
  std::optional<reports::Check> local_difference(const Stage& stage, const at::Tensor& first,
                                                 const std::optional<Replayed>& first_replay,
                                                 const at::Tensor& second,
                                                 const std::optional<Replayed>& second_replay);

  std::vector<reports::StageErrors> differences(const StageRun& run, const Stages& first,
                                                const Stages& second);

  void compare_stages();

  void compare_operations();

  void compare_cache();

  void compare_overrun();

  void compare_gradients();

  void compare_training_steps();

  // Compares the text that only `writer` can generate with the logits of `judge`.
  void compare_text_with_logits(Subject& writer, Subject& judge);

  void compare_generated_text();

  void compare_speed();

  void compare_memory();

  // Compares logits with these weights loaded into both.
  reports::Check with_weights(const std::string& what, const Weights& weights);
};

}  // namespace plumbline
