// Chapter 11: the claims of the alignment document, each confirmed or refuted with the exact figure. They
// concern the models' numbers and not the candidate, so that a refuted claim is no failure.
#include <cmath>

#include "harness/experiment/repeater.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

Specification specification_named(Subject& subject, const char* name) {
  return find_specification(name, subject.fixtures() / "specifications");
}

void conclude(Subject& subject, bool confirmed, const std::string& figure) {
  subject.recorder().finding((confirmed ? "confirmed: " : "refuted: ") + figure);
}

std::string millions(std::int64_t count) {
  return fmt::format("{:.2f}M", static_cast<double>(count) / 1e6);
}

}  // namespace

REQUIREMENT("CLAIM-a", "the target has about 26M parameters") {
  const auto s = specification_named(subject, "minimind2-small");
  // Independent of Specification::parameters(): embedding, layers, final norm.
  const std::int64_t by_hand =
      6400 * 512 + 8 * (2 * 512 * 512 + 2 * 128 * 512 + 3 * 1408 * 512 + 2 * 512) + 512;
  expect_equal(subject, "parameters of MiniMind2-Small", s.parameter_count(), by_hand);
  conclude(subject, std::abs(static_cast<double>(by_hand) / 1e6 - 26) < 0.5,
           fmt::format("{} parameters, {}", by_hand, millions(by_hand)));
}

REQUIREMENT("CLAIM-b", "23 layers make 75M+ parameters") {
  auto target = specification_named(subject, "minimind2-small");
  const auto before = specification_named(subject, "diy-before");
  target.num_hidden_layers = 23;
  const std::int64_t grouped =
      6400 * 512 + 23 * (2 * 512 * 512 + 2 * 128 * 512 + 3 * 1408 * 512 + 2 * 512) + 512;
  const std::int64_t plain =
      6400 * 512 + 23 * (4 * 512 * 512 + 3 * 2048 * 512 + 2 * 2048 + 512 + 2 * 512) + 512;
  expect_equal(subject, "parameters of the target's layers, 23 of them", target.parameter_count(), grouped);
  expect_equal(subject, "parameters of the model before, 23 layers", before.parameter_count(), plain);
  conclude(subject, grouped >= 75'000'000,
           fmt::format("23 of the target's layers make {}, {}", grouped, millions(grouped)));
  conclude(subject, plain >= 75'000'000,
           fmt::format("the model before, with plain multi-head attention, feed-forward "
                       "2048 and its biases, has {}, {}: more than 75M, by a third",
                       plain, millions(plain)));
}

REQUIREMENT("CLAIM-c", "the KV cache shrinks by 75 %") {
  const auto after = specification_named(subject, "minimind2-small"),
             before = specification_named(subject, "diy-before");
  const auto values = [](const Specification& s) {
    return 2 * s.key_value_size() * s.num_hidden_layers;
  };  // for each position
  const auto saved = [](double now, double then) { return 100 * (1 - now / then); };
  const double by_grouping = saved(2.0 * 64, 8.0 * 64);
  expect_equal(subject, "values cached for a layer and position by 2 heads", 2 * after.key_value_size(),
               2 * 2 * 64);
  expect_equal(subject, "values cached for a position by 8 layers of 2 heads", values(after), 8 * 2 * 2 * 64);
  expect_equal(subject, "values cached for a position by 23 layers of 8 heads", values(before),
               23 * 2 * 8 * 64);
  conclude(subject, by_grouping == 75,
           fmt::format("for each layer and position, 2 heads for 8: {:.2f} %", by_grouping));
  const double whole_model = saved(static_cast<double>(values(after)), static_cast<double>(values(before)));
  conclude(subject, false,
           fmt::format(
               "for a whole model of 8 layers after 23, at the same positions: {:.2f} %, more than claimed",
               whole_model));
  const double full = saved(static_cast<double>(values(after) * after.max_position_embeddings),
                            static_cast<double>(values(before) * before.max_position_embeddings));
  conclude(subject, false,
           fmt::format("each filled to its own last position (32768 after 2048): {:.2f} %{}", full,
                       full < 0 ? ", it grows" : ""));
}

REQUIREMENT("CLAIM-d", "width 512 derives a feed-forward size of 1408") {
  const auto derived = derived_intermediate_size(512);
  expect_equal(subject, "feed-forward size derived from 512", derived, 64 * ((1365 + 63) / 64));
  conclude(subject, derived == 1408,
           fmt::format("int(512 * 8 / 3) = 1365, rounded up to a multiple of 64: {}", derived));
}

REQUIREMENT("CLAIM-e", "width 768 derives a feed-forward size of 2112 = 64 * 33") {
  const auto derived = derived_intermediate_size(768);
  expect_equal(subject, "feed-forward size derived from 768", derived, 64 * ((2048 + 63) / 64));
  conclude(subject, derived == 2112,
           fmt::format("int(768 * 8 / 3) = 2048 is a multiple of 64 already: {} = 64 * {}", derived,
                       derived / 64));
}

REQUIREMENT("CLAIM-f", "the two ways of broadcasting cos and sin are equivalent") {
  // q (B, L, H, D) with cos (L, D) unsqueezed at 1, and q (B, H, L, D) with cos unsqueezed twice at 0.
  const auto rotate_half = [](const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    const auto half = x.size(-1) / 2;
    return x * cos + at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1) * sin;
  };
  const auto table = [](std::int64_t length, bool sine) {
    const auto frequencies = at::pow(1e6, -at::arange(0, 64, 2, at::kDouble) / 64);
    const auto angles = at::arange(length, at::kDouble).unsqueeze(1) * frequencies;
    const auto half = sine ? angles.sin() : angles.cos();
    return at::cat({half, half}, -1);  // (L, D)
  };
  const auto x = [](std::int64_t length, std::int64_t heads) {
    return at::arange(3 * length * heads * 64, at::kDouble).sin().view({3, length, heads, 64});
  };
  const auto both = [&](std::int64_t length, std::int64_t heads) {
    const auto q = x(length, heads), cos = table(length, false), sin = table(length, true);
    const auto by_length = rotate_half(q, cos.unsqueeze(1), sin.unsqueeze(1));
    const auto by_head =
        rotate_half(q.transpose(1, 2), cos.unsqueeze(0).unsqueeze(0), sin.unsqueeze(0).unsqueeze(0))
            .transpose(1, 2);
    return std::pair{by_length, by_head};
  };
  for (const auto& [length, heads] :
       {std::pair<std::int64_t, std::int64_t>{24, 8}, {24, 2}, {8, 8}, {2, 2}, {1, 8}}) {
    const auto [by_length, by_head] = both(length, heads);
    expect_close(subject, fmt::format("{} positions, {} heads, each in its own layout", length, heads),
                 by_head, by_length, Tolerance::exact("the same products"));
  }
  conclude(subject, true,
           "in the layout each is made for, [B, L, H, D] and [B, H, L, D], they agree to the last bit");
  // The second way applied to [B, L, H, D], where cos broadcasts over heads; false where that raises.
  const auto is_silently_wrong = [&](std::int64_t length, std::int64_t heads) {
    const auto cos = table(length, false), sin = table(length, true);
    try {
      const auto wrong =
          rotate_half(x(length, heads), cos.unsqueeze(0).unsqueeze(0), sin.unsqueeze(0).unsqueeze(0));
      return largest(wrong - both(length, heads).first) > 0.1;
    } catch (const c10::Error&) {
      return false;
    }
  };
  expect_that(subject, is_silently_wrong(8, 8), "the wrong layout at 8 positions and 8 heads",
              is_silently_wrong(8, 8) ? "silently wrong" : "raises or agrees", "silently wrong");
  expect_that(subject, !is_silently_wrong(8, 2), "the wrong layout at 8 positions and 2 heads",
              is_silently_wrong(8, 2) ? "silently wrong" : "raises or agrees", "raises");
  expect_that(subject, is_silently_wrong(2, 2), "the wrong layout at 2 positions and 2 heads",
              is_silently_wrong(2, 2) ? "silently wrong" : "raises or agrees", "silently wrong");
  conclude(subject, false,
           "in the other's layout each broadcasts silently, and wrongly, when the length equals the tensor's "
           "own number of heads; "
           "with 8 and 2 heads the other tensor then raises");
}

namespace {

// The recorded experiment, with its conclusions computed anew.
const Json& experiment(Subject& subject) {
  static const Json concluded = [&] {
    const auto file = subject.fixtures() / "repeater" / "small-result.json";
    auto document = parse_json(read_text(file, 16 << 20), file.string());
    conclude_repeater(document);
    return document;
  }();
  return concluded;
}

void conclude_from_experiment(Subject& subject, const std::string& id) {
  const auto& document = experiment(subject);
  expect_equal(subject, "runs of the experiment", static_cast<std::int64_t>(document["runs"].size()), 34);
  for (const auto& claim : document["claims"]) {
    if (claim["id"] != id) continue;
    const auto verdict = claim["verdict"].get<std::string>();
    subject.recorder().finding(fmt::format(
        "{}, at small scale: {}; {}", verdict == "open" ? "neither confirmed nor refuted" : verdict,
        claim["figure"].get<std::string>(), document["scale"].get<std::string>()));
    return;
  }
  not_assessed("the experiment says nothing about it");
}

}  // namespace

REQUIREMENT("CLAIM-g", "dropout 0.1 may be kept") {
  conclude_from_experiment(subject, "CLAIM-g");
}

REQUIREMENT("CLAIM-h", "fewer layers and grouped queries end the repeating") {
  conclude_from_experiment(subject, "CLAIM-h");
}

REQUIREMENT("CLAIM-i", "training gets steadier with fewer layers") {
  conclude_from_experiment(subject, "CLAIM-i");
}

}  // namespace plumbline
