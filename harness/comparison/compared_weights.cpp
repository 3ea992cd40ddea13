#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/evidence/relation.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

namespace {

constexpr std::size_t kMostRenamed = 10'000;

}  // namespace

std::map<std::string, std::vector<std::int64_t>> CandidatePair::shapes_of(Subject& subject) const {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& parameter : subject.description().parameters)
    // A stored file may keep a tied head as a second copy of the embedding.
    if (subject.can("code") || !subject.specification().tie_word_embeddings || parameter.name != kHead)
      shapes[parameter.name] = parameter.shape;
  return shapes;
}

const std::map<std::string, std::string>& CandidatePair::renamed_weights() {
  if (renamed_weights_) return *renamed_weights_;
  renamed_weights_.emplace();
  if (can("code")) return *renamed_weights_;
  const auto &first = one.candidate().weights(), &second = other->candidate().weights();
  std::set<std::string> free;
  for (const auto& [key, values] : second)
    if (!first.contains(key)) free.insert(key);
  if (free.size() > kMostRenamed) return *renamed_weights_;  // no model has so many
  for (const auto& [key, values] : first) {
    if (second.contains(key)) continue;
    // Norms of several layers may be equal: prefer the one of the same layer.
    const auto number = first_number(key);
    std::string best;
    for (const auto& name : free) {
      const auto& theirs = second.at(name);
      const auto same = same_but_for_type(theirs, values);
      if (same && (best.empty() || (first_number(name) == number && first_number(best) != number)))
        best = name;
    }
    if (best.empty()) continue;
    free.erase(best);
    renamed_weights_->emplace(key, best);
  }
  return *renamed_weights_;
}

std::string CandidatePair::first_number(const std::string& name) {
  const auto begin = name.find_first_of("0123456789");
  return begin == std::string::npos ? ""
                                    : name.substr(begin, name.find_first_not_of("0123456789", begin) - begin);
}

void CandidatePair::compare_parameters() {
  if (other == nullptr) return;
  const auto first = shapes_of(one), second = shapes_of(*other);
  const auto shape = [](const std::vector<std::int64_t>& sizes) {
    return fmt::format("[{}]", fmt::join(sizes, ", "));
  };
  std::set<std::string> found_elsewhere;
  std::int64_t missing = 0;
  for (const auto& [key, sizes] : first) {
    const auto found = second.find(key);
    if (const auto elsewhere = renamed_weights().find(key); elsewhere != renamed_weights().end()) {
      found_elsewhere.insert(elsewhere->second);
      expect_text(key, fmt::format("called {}", elsewhere->second), key);
      continue;
    }
    missing += found == second.end() ? 1 : 0;
    expect_text(key, found == second.end() ? "missing" : shape(found->second), shape(sizes));
  }
  for (const auto& [key, sizes] : second) {
    if (first.contains(key) || found_elsewhere.contains(key)) continue;
    ++missing;
    expect_text(key, shape(sizes), "missing");
  }
  if (!found_elsewhere.empty())
    one.recorder().finding(
        fmt::format("{} the same weights under other names, as {} is {}{}",
                    reports::counted(static_cast<std::int64_t>(found_elsewhere.size()), "parameter") +
                        (found_elsewhere.size() == 1 ? " is" : " are"),
                    renamed_weights().begin()->first, renamed_weights().begin()->second,
                    missing == 0 ? "" : fmt::format("; {} have no counterpart", missing)));
}

std::string CandidatePair::describe_storage(const std::string& key, const at::Tensor& second,
                                            const at::Tensor& first) {
  const auto words = relation(second, first);
  const bool queries = key.ends_with("self_attn.q_proj.weight");
  if (words.empty() || first.dim() != 2 || (!queries && !key.ends_with("self_attn.k_proj.weight")))
    return words;
  const auto& s = one.specification();
  const auto heads = queries ? s.num_attention_heads : s.num_key_value_heads;
  if (first.size(0) % (2 * heads) != 0 || first.scalar_type() != second.scalar_type()) return words;
  if (same_bits(rows_for_pairs(first, heads), second))
    return words + ": for neighbouring pairs, where those before are for halves";
  if (same_bits(rows_for_pairs(second, heads), first))
    return words + ": for halves, where those before are for neighbouring pairs";
  return words;
}

void CandidatePair::compare_stored_weights() {
  if (other == nullptr) return;
  auto first = one.candidate().weights(), second = other->candidate().weights();
  // A tied head that one of them stores is the other's embedding.
  if (one.specification().tie_word_embeddings)
    for (auto* weights : {&first, &second})
      if (const auto embedding = weights->find(kEmbedding); embedding != weights->end())
        weights->emplace(kHead, embedding->second);
  std::map<std::string, std::vector<std::string>> related;  // from a relation to names
  std::int64_t found_in_both = 0;
  for (const auto& [key, values] : first) {
    const auto elsewhere = renamed_weights().find(key);
    const auto found = second.find(elsewhere == renamed_weights().end() ? key : elsewhere->second);
    if (found == second.end()) continue;  // SAME-2 reports it
    ++found_in_both;
    auto check = compare_two(key, found->second, values, Tolerance::exact("weights are not computed"));
    if (check.within && !*check.identical) {
      check.within = false;
      check.form = reports::Form::values;
      check.actual = fmt::format("the same values of type {}", at::toString(found->second.scalar_type()));
      check.expected = fmt::format("of type {}", at::toString(values.scalar_type()));
    }
    if (!*check.identical) {
      const auto words = describe_storage(key, found->second, values);
      check.note = words;
      related[words].push_back(key);
    }
    record(std::move(check));
  }
  for (const auto& [words, keys] : related)
    if (!words.empty())
      one.recorder().finding(fmt::format("{}: {}",
                                         keys.size() == static_cast<std::size_t>(found_in_both)
                                             ? "each weight"
                                             : describe_some(keys, found_in_both),
                                         words));
  if (const auto unlike = related.find(""); unlike != related.end() && related.size() > 1)
    one.recorder().finding(fmt::format("{}: other values", describe_some(unlike->second, found_in_both)));
}

std::string CandidatePair::describe_some(const std::vector<std::string>& keys, std::int64_t all) {
  return fmt::format("{} of {}, the first {}", keys.size(), reports::counted(all, "weight"), keys.front());
}

void CandidatePair::compare_initialisation() {
  compare_answers(
      [](Subject& subject) { return subject.candidate().initialise(1); },
      [&](const Weights& first, const Weights& second) {
        for (const auto& [key, values] : first) {
          const auto found = second.find(key);
          if (found == second.end() || found->second.sizes() != values.sizes()) continue;
          if (same_bits(values, found->second)) {
            record(compare_two(key, found->second, values, Tolerance::exact("")));
            continue;
          }
          const auto a = values.to(at::kDouble).flatten(), b = found->second.to(at::kDouble).flatten();
          const auto n = static_cast<double>(a.numel());
          const auto spread = n > 1 ? a.std(/*unbiased=*/true) : at::zeros({}, at::kDouble);
          const double width = spread.item<double>();
          const auto expect = [&](const std::string& what, const at::Tensor& second_value,
                                  const at::Tensor& first_value, double error) {
            auto check = compare(
                fmt::format("{} of {}", what, key), second_value, first_value,
                Tolerance::absolute(error, fmt::format("six standard errors of two samples of {}", n)));
            check.identical = false;
            record(std::move(check));
          };
          const double six = 6 * std::sqrt(2.0);
          expect("mean", b.mean(), a.mean(), six * width / std::sqrt(n));
          if (n > 1) expect("standard deviation", b.std(true), spread, six * width / std::sqrt(2 * n));
          expect_text(fmt::format("zeros in {}", key), std::to_string((b == 0).sum().item<std::int64_t>()),
                      std::to_string((a == 0).sum().item<std::int64_t>()));
        }
      });
}

}  // namespace plumbline
