#include "harness/training_log/log_columns.hpp"

#include <algorithm>
#include <optional>
#include <vector>

namespace plumbline {
namespace {

enum class Says {
  loss,
  pure,        // the cross-entropy alone, without other terms
  plain,       // nothing that matters
  coarse,      // of many steps at once
  wrapper,     // how Python prints a number
  validation,  // of held-out text
  part,        // a term beside the cross-entropy, or a statistic of it
  reward,
  preference,
  step,
  step_of_what,  // stands before "step" or "epoch"
  epoch,
};

struct Known {
  std::string_view word;
  Says says;
};
constexpr Known kWords[] = {
    {"loss", Says::loss},
    {"losses", Says::loss},
    {"lm", Says::pure},
    {"ce", Says::pure},
    {"nll", Says::pure},
    {"xent", Says::pure},
    {"cross", Says::pure},
    {"crossentropy", Says::pure},
    {"logits", Says::pure},
    {"train", Says::step_of_what},
    {"training", Says::step_of_what},
    {"trainer", Says::step_of_what},
    {"global", Says::step_of_what},
    {"optimizer", Says::step_of_what},
    {"optim", Says::step_of_what},
    {"opt", Says::step_of_what},
    {"current", Says::step_of_what},
    {"cur", Says::step_of_what},
    {"curr", Says::step_of_what},
    {"at", Says::step_of_what},
    {"num", Says::step_of_what},
    {"metrics", Says::plain},
    {"metric", Says::plain},
    {"batch", Says::step},
    {"pretrain", Says::plain},
    {"sft", Says::plain},
    {"model", Says::plain},
    {"language", Says::plain},
    {"modeling", Says::plain},
    {"token", Says::plain},
    {"tokens", Says::plain},
    {"main", Says::plain},
    {"text", Says::plain},
    {"raw", Says::plain},
    {"item", Says::plain},
    {"log", Says::plain},
    {"logs", Says::plain},
    {"history", Says::plain},
    {"scalar", Says::plain},
    {"scalars", Says::plain},
    {"nats", Says::plain},
    {"value", Says::plain},
    {"reduced", Says::plain},
    {"micro", Says::plain},
    {"per", Says::plain},
    {"rank", Says::plain},
    {"inner", Says::plain},
    {"total", Says::coarse},
    {"sum", Says::coarse},
    {"avg", Says::coarse},
    {"average", Says::coarse},
    {"mean", Says::coarse},
    {"running", Says::coarse},
    {"smooth", Says::coarse},
    {"smoothed", Says::coarse},
    {"ema", Says::coarse},
    {"tensor", Says::wrapper},
    {"np", Says::wrapper},
    {"numpy", Says::wrapper},
    {"torch", Says::wrapper},
    {"array", Says::wrapper},
    {"float16", Says::wrapper},
    {"float32", Says::wrapper},
    {"float64", Says::wrapper},
    {"bfloat16", Says::wrapper},
    {"val", Says::validation},
    {"valid", Says::validation},
    {"validation", Says::validation},
    {"validate", Says::validation},
    {"validating", Says::validation},
    {"eval", Says::validation},
    {"evaluation", Says::validation},
    {"evaluating", Says::validation},
    {"test", Says::validation},
    {"testing", Says::validation},
    {"dev", Says::validation},
    {"holdout", Says::validation},
    {"heldout", Says::validation},
    {"scale", Says::part},
    {"scaler", Says::part},
    {"aux", Says::part},
    {"auxiliary", Says::part},
    {"z", Says::part},
    {"balance", Says::part},
    {"balancing", Says::part},
    {"router", Says::part},
    {"gate", Says::part},
    {"moe", Says::part},
    {"load", Says::part},
    {"weight", Says::part},
    {"kl", Says::part},
    {"entropy", Says::part},  // "cross entropy" is joined before
    {"reg", Says::part},
    {"regularization", Says::part},
    {"mtp", Says::part},
    {"distill", Says::part},
    {"vq", Says::part},
    {"commit", Says::part},
    {"time", Says::part},
    {"timestamp", Says::part},
    {"best", Says::part},
    {"final", Says::part},
    {"min", Says::part},
    {"max", Says::part},
    {"lowest", Says::part},
    {"std", Says::part},
    {"var", Says::part},
    {"variance", Says::part},
    {"delta", Says::part},
    {"diff", Says::part},
    {"change", Says::part},
    {"ratio", Says::part},
    {"initial", Says::part},
    {"target", Says::part},
    {"expected", Says::part},
    {"prev", Says::part},
    {"previous", Says::part},
    {"last", Says::part},
    {"spike", Says::part},
    {"spikes", Says::part},
    {"threshold", Says::part},
    {"reward", Says::reward},
    {"rewards", Says::reward},
    {"advantage", Says::reward},
    {"advantages", Says::reward},
    {"adv", Says::reward},
    {"actor", Says::reward},
    {"critic", Says::reward},
    {"policy", Says::reward},
    {"vf", Says::reward},
    {"pg", Says::reward},
    {"grpo", Says::reward},
    {"ppo", Says::reward},
    {"rloo", Says::reward},
    {"clipfrac", Says::reward},
    {"completion", Says::reward},
    {"completions", Says::reward},
    {"rollout", Says::reward},
    {"surrogate", Says::reward},
    {"chosen", Says::preference},
    {"rejected", Says::preference},
    {"dpo", Says::preference},
    {"kto", Says::preference},
    {"orpo", Says::preference},
    {"ipo", Says::preference},
    {"cpo", Says::preference},
    {"simpo", Says::preference},
    {"preference", Says::preference},
    {"step", Says::step},
    {"steps", Says::step},
    {"iter", Says::step},
    {"iters", Says::step},
    {"iteration", Says::step},
    {"iterations", Says::step},
    {"it", Says::step},
    {"update", Says::step},
    {"updates", Says::step},
    {"batches", Says::step},
    {"s", Says::step},
    {"epoch", Says::epoch},
    {"epochs", Says::epoch},
    {"ep", Says::epoch},
};

// Names that mean something as they are.
struct KnownName {
  std::string_view name;
  Meaning meaning;
  bool with_words_before = false;
};
constexpr KnownName kNames[] = {
    {"损失", {Role::loss, 2}},
    {"训练损失", {Role::loss, 2}},
    {"验证损失", {Role::validation_loss, 0}},
    {"步", {Role::step, 0}},
    {"步数", {Role::step, 0}},
    {"轮", {Role::epoch, 0}},
    {"轮次", {Role::epoch, 0}},
    {"trl", {Role::loss, 0}},
    {"tel", {Role::validation_loss, 0}},
    {"bpb", {Role::bits, 50}, true},
    {"bpc", {Role::bits, 50}, true},
    {"bits per byte", {Role::bits, 50}, true},
    {"bits per character", {Role::bits, 50}, true},
    {"bits per char", {Role::bits, 50}, true},
    {"ppl", {Role::perplexity, 60}, true},
    {"perplexity", {Role::perplexity, 60}, true},
    {"grad norm", {Role::gradient_norm, 0}, true},
    {"gradient norm", {Role::gradient_norm, 0}, true},
    {"grads norm", {Role::gradient_norm, 0}, true},
    {"gnorm", {Role::gradient_norm, 0}, true},
    {"gradnorm", {Role::gradient_norm, 0}, true},
    {"total norm", {Role::gradient_norm, 1}},
    {"norm", {Role::gradient_norm, 2}},
    {"lr", {Role::learning_rate, 0}, true},
    {"learning rate", {Role::learning_rate, 0}, true},
    {"train runtime", {Role::summary, 0}, true},
    {"value", {Role::value, 70}},
    {"wall time", {Role::wall_time, 0}},
    {"timestamp", {Role::wall_time, 0}},
    {"metric value", {Role::value, 70}},
    {"tag", {Role::tag, 0}},
    {"metric name", {Role::tag, 0}},
    {"metric", {Role::tag, 0}},
    {"key", {Role::tag, 0}},
    {"name", {Role::tag, 0}},
    {"variable", {Role::tag, 0}},
};

// Which of several counts steps.
constexpr std::string_view kSteps[] = {"step", "steps", "update", "updates", "iteration", "iterations",
                                       "iter", "iters", "batch",  "batches", "it",        "s"};

// Of any script: what is not ASCII belongs to a word.
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool is_capital(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_small(char c) {
  return c >= 'a' && c <= 'z';
}

std::optional<Says> known(std::string_view word) {
  // Sorted once: it is asked for every word of every new name.
  static const auto words = [] {
    std::vector<Known> sorted(std::begin(kWords), std::end(kWords));
    std::sort(sorted.begin(), sorted.end(), [](auto& one, auto& other) { return one.word < other.word; });
    return sorted;
  }();
  const auto found =
      std::lower_bound(words.begin(), words.end(), word,
                       [](const Known& one, std::string_view other) { return one.word < other; });
  return found != words.end() && found->word == word ? std::optional(found->says) : std::nullopt;
}

bool is_in_a_name(std::string_view word) {
  constexpr std::string_view words[] = {
      "trl",  "lr",  "learning", "rate", "tel",      "bpb",   "bpc",   "bits",     "byte",      "character",
      "char", "ppl", "grad",     "norm", "gradient", "grads", "gnorm", "gradnorm", "perplexity"};
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

struct Word {
  std::string text;   // in lower case
  char before = ' ';  // the sign it is separated by
};

// "train/lossStep" -> train, loss, step.
std::vector<Word> words_of(std::string_view name) {
  constexpr std::string_view kWide = "\xef\xbc";
  std::vector<Word> words;
  bool inside = false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (name.substr(i).starts_with(kWide)) {  // a comma or a colon as wide as a Chinese character
      i += 2;
      inside = false;
      continue;
    }
    const bool was_inside = inside;
    inside = is_letter(c) || is_digit(c);
    if (!inside) continue;
    const bool camel = was_inside && is_small(name[i - 1]) && is_capital(c);
    if (!was_inside || camel) words.push_back({"", was_inside ? '_' : i > 0 ? name[i - 1] : ' '});
    words.back().text += is_capital(c) ? static_cast<char>(c | 0x20) : c;
  }
  std::vector<Word> split;
  for (auto& word : words) {
    // "trainloss", "valloss"
    const auto& text = word.text;
    if (text.size() > 4 && text.ends_with("loss") && known(text.substr(0, text.size() - 4))) {
      split.push_back({text.substr(0, text.size() - 4), word.before});
      split.push_back({"loss", '_'});
    } else if (text == "entropy" && !split.empty() && split.back().text == "cross") {
      split.back().text = "crossentropy";
    } else {
      split.push_back(std::move(word));
    }
  }
  return split;
}

std::string joined(const std::vector<Word>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : " ") + word.text;
  return out;
}

Meaning meaning_of_loss(const std::vector<Word>& words) {
  int unknown = 0, pure = 0, coarse = 0;
  bool validation = false, part = false, reward = false, preference = false, seen = false;
  for (const auto& word : words) {
    const auto says = known(word.text);
    if (!says) {
      ++unknown;
      continue;
    }
    validation |= *says == Says::validation;
    part |= *says == Says::part || (word.text == "value" && !seen);
    reward |= *says == Says::reward;
    preference |= *says == Says::preference;
    pure += *says == Says::pure;
    coarse += *says == Says::coarse || *says == Says::epoch;
    seen |= *says == Says::loss;
  }
  for (const auto& word : words) part |= word.text == "ppl" || word.text == "perplexity";
  if (part) return {};
  if (validation) return {Role::validation_loss, coarse};
  if (preference) return {Role::preference_loss, 0};
  if (reward) return {Role::reward_loss, 0};
  return {Role::loss, (pure > 0 ? 0 : 2) + 3 * coarse + 10 * unknown};
}

Meaning meaning_of_words(const std::vector<Word>& words) {
  if (words.empty()) return {};
  const auto name = joined(words);
  const auto has = [&](Says what) {
    return std::any_of(words.begin(), words.end(), [&](auto& word) { return known(word.text) == what; });
  };
  if (has(Says::loss)) return meaning_of_loss(words);
  if (words.back().text == "crossentropy")
    return {has(Says::validation) ? Role::validation_loss : Role::loss, 1};
  for (const auto& one : kNames) {
    const bool ends = name.ends_with(one.name) && name.size() > one.name.size() &&
                      name[name.size() - one.name.size() - 1] == ' ';
    if (name != one.name && !(ends && one.with_words_before)) continue;
    return has(Says::validation) ? Meaning{} : one.meaning;
  }
  if (has(Says::preference)) return {Role::preference, 0};
  // "global step", "training iteration", but not "time per step".
  const bool counts = std::all_of(words.begin(), words.end() - 1, [&](const Word& word) {
    const auto says = known(word.text);
    return says == Says::step_of_what || says == Says::validation;
  });
  const auto last = known(words.back().text);
  if (counts && last == Says::step) {
    const auto rank = std::find(std::begin(kSteps), std::end(kSteps), words.back().text) - std::begin(kSteps);
    return {Role::step, static_cast<int>(rank)};
  }
  if (counts && last == Says::epoch) return {Role::epoch, 0};
  if (has(Says::reward)) return {Role::reward, 0};
  return {};
}

}  // namespace

Meaning meaning_of_name(std::string_view name) {
  // Trackers write the run's own name before what they show: "run 3 - train/loss".
  if (const auto run = name.rfind(" - "); run != std::string_view::npos) name.remove_prefix(run + 3);
  return meaning_of_words(words_of(name));
}

NameInText name_in_text(std::string_view before) {
  constexpr std::size_t most_words = 6;
  auto words = words_of(before);
  while (!words.empty() && known(words.back().text) == Says::wrapper) words.pop_back();
  NameInText found;
  // As many of the last words as are known, or the last one.
  auto begin = words.end();
  while (begin != words.begin() && words.end() - begin < static_cast<std::ptrdiff_t>(most_words) &&
         (known(std::prev(begin)->text) || is_in_a_name(std::prev(begin)->text)))
    --begin;
  if (begin == words.end() && begin != words.begin()) --begin;
  const std::vector<Word> name(begin, words.end());
  // "10 ms/step" is a rate.
  const bool rate = name.size() == 1 && name[0].before == '/';
  found.meaning = rate && known(name[0].text) != Says::loss ? Meaning{} : meaning_of_words(name);
  found.name = joined(name);
  if (found.meaning.role != Role::validation_loss)
    found.speaks_of_validation = std::any_of(words.begin(), words.end(), [](const Word& word) {
      return known(word.text) == Says::validation &&
             std::string_view("/_.-").find(word.before) == std::string_view::npos;
    });
  return found;
}

std::string comparable(std::string_view name) {
  return joined(words_of(name));
}

}  // namespace plumbline
