#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

void CandidatePair::compare_cache() {
  compare_answers([](Subject& subject) { return fill_cache(subject); },
                  [&](const FilledCache& first, const FilledCache& second) {
                    expect_text("layers in the cache", std::to_string(second.view.layers.size()),
                                std::to_string(first.view.layers.size()));
                    expect_text("positions in the cache", std::to_string(second.view.length),
                                std::to_string(first.view.length));
                    for (std::size_t layer = 0;
                         layer < std::min(first.view.layers.size(), second.view.layers.size()); ++layer) {
                      const auto &a = first.view.layers[layer], &b = second.view.layers[layer];
                      const auto prefix = fmt::format("layers.{} cached ", layer);
                      record(compare_two(prefix + "keys", b.keys.to(at::kCPU), a.keys.to(at::kCPU),
                                         one.noise("k_rotated", a.keys.to(at::kCPU))));
                      record(compare_two(prefix + "values", b.values.to(at::kCPU), a.values.to(at::kCPU),
                                         one.noise("v", a.values.to(at::kCPU))));
                    }
                  });
}

void CandidatePair::compare_overrun() {
  compare_answers(
      [](Subject& subject) { return overrun_cache(subject); },
      [&](const Overrun& first, const Overrun& second) {
        const auto words = [](const Overrun& found) {
          return found.answer.starts_with(std::to_string(found.capacity + 1))
                     ? "one token too many was accepted"
                     : found.answer;
        };
        expect_text("writing one token too many into a cache", words(second), words(first));
        if (first.logits.defined() && second.logits.defined() && first.capacity == second.capacity)
          compare_logits("the last two tokens that fit", first.logits, second.logits,
                         one.noise("logits", first.logits));
      });
}

}  // namespace plumbline
