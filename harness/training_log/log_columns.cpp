#include "harness/training_log/log_columns.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "harness/training_log/log_words.hpp"

namespace plumbline {
namespace {

// Names of a count of steps, the preferred one first.
constexpr std::string_view kSteps[] = {"step", "steps", "update", "updates", "iteration", "iterations",
                                       "iter", "iters", "batch",  "batches", "it",        "s"};

// Letters of any script: every byte that is not ASCII belongs to a word.
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
    if (text.size() > 4 && text.ends_with("loss") && kind_of_word(text.substr(0, text.size() - 4))) {
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
    const auto kind = kind_of_word(word.text);
    if (!kind) {
      ++unknown;
      continue;
    }
    validation |= *kind == WordKind::validation;
    part |= *kind == WordKind::part || (word.text == "value" && !seen);
    reward |= *kind == WordKind::reward;
    preference |= *kind == WordKind::preference;
    pure += *kind == WordKind::pure;
    coarse += *kind == WordKind::coarse || *kind == WordKind::epoch;
    seen |= *kind == WordKind::loss;
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
  const auto has = [&](WordKind what) {
    return std::any_of(words.begin(), words.end(),
                       [&](auto& word) { return kind_of_word(word.text) == what; });
  };
  if (has(WordKind::loss)) return meaning_of_loss(words);
  if (words.back().text == "crossentropy")
    return {has(WordKind::validation) ? Role::validation_loss : Role::loss, 1};
  for (const auto& one : known_names()) {
    const bool ends = name.ends_with(one.name) && name.size() > one.name.size() &&
                      name[name.size() - one.name.size() - 1] == ' ';
    if (name != one.name && !(ends && one.with_words_before)) continue;
    return has(WordKind::validation) ? Meaning{} : one.meaning;
  }
  if (has(WordKind::preference)) return {Role::preference, 0};
  // "global step", "training iteration", but not "time per step".
  const bool counts = std::all_of(words.begin(), words.end() - 1, [&](const Word& word) {
    const auto kind = kind_of_word(word.text);
    return kind == WordKind::step_of_what || kind == WordKind::validation;
  });
  const auto last = kind_of_word(words.back().text);
  if (counts && last == WordKind::step) {
    const auto rank = std::find(std::begin(kSteps), std::end(kSteps), words.back().text) - std::begin(kSteps);
    return {Role::step, static_cast<int>(rank)};
  }
  if (counts && last == WordKind::epoch) return {Role::epoch, 0};
  if (has(WordKind::reward)) return {Role::reward, 0};
  return {};
}

}  // namespace

Meaning meaning_of_name(std::string_view name) {
  // Trackers write the run's name before the metric's: "run 3 - train/loss".
  if (const auto run = name.rfind(" - "); run != std::string_view::npos) name.remove_prefix(run + 3);
  return meaning_of_words(words_of(name));
}

NameInText name_in_text(std::string_view before) {
  constexpr std::size_t most_words = 6;
  auto words = words_of(before);
  while (!words.empty() && kind_of_word(words.back().text) == WordKind::wrapper) words.pop_back();
  NameInText found;
  // The known words at the end, or the last word.
  auto begin = words.end();
  while (begin != words.begin() && words.end() - begin < static_cast<std::ptrdiff_t>(most_words) &&
         (kind_of_word(std::prev(begin)->text) || is_in_a_known_name(std::prev(begin)->text)))
    --begin;
  if (begin == words.end() && begin != words.begin()) --begin;
  const std::vector<Word> name(begin, words.end());
  // "10 ms/step" is a rate.
  const bool rate = name.size() == 1 && name[0].before == '/';
  found.meaning = rate && kind_of_word(name[0].text) != WordKind::loss ? Meaning{} : meaning_of_words(name);
  found.name = joined(name);
  if (found.meaning.role != Role::validation_loss)
    found.mentions_validation = std::any_of(words.begin(), words.end(), [](const Word& word) {
      return kind_of_word(word.text) == WordKind::validation &&
             std::string_view("/_.-").find(word.before) == std::string_view::npos;
    });
  return found;
}

std::string comparable(std::string_view name) {
  return joined(words_of(name));
}

}  // namespace plumbline
