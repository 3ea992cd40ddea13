#include "harness/judging/ways.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace plumbline {
namespace {

enum AxisIndex : std::size_t { pass, mask, cache, rows, length, position, ids };
enum Pass : std::size_t { evaluation, training, loss_in_evaluation, loss_in_training };
enum Mask : std::size_t { no_mask, ones, right, left };
enum Cache : std::size_t { no_cache, prefill, decoding, from_one_token, chunks };
enum Rows : std::size_t { alone, among_others };
enum Length : std::size_t { standard, one_token, long_sequence };
enum Position : std::size_t { start, far };
enum Ids : std::size_t { ordinary, special };

bool is_loss(std::size_t value) {
  return value == loss_in_evaluation || value == loss_in_training;
}

// Whether two values exclude each other: what has no meaning, and what would take long and show no more.
bool exclude(std::size_t a, std::size_t i, std::size_t b, std::size_t j) {
  if (a == pass && b == cache) return i != evaluation && j != no_cache;
  if (a == pass && b == length)
    return (is_loss(i) && j == one_token) || (i == loss_in_evaluation && j == long_sequence);
  if (a == pass && b == position) return is_loss(i) && j != start;
  if (a == cache && b == length)
    return (j == one_token && i >= decoding) || (j == long_sequence && i == from_one_token);
  if (a == cache && b == position) return i != no_cache && j != start;
  if (a == length && b == position) return i == one_token && j != start;  // it attends to itself alone
  if (a == pass && b == ids) return is_loss(i) && j != ordinary;          // the labels have them
  return false;
}

constexpr std::int64_t kFar = 300;

}  // namespace

const std::vector<Axis>& axes() {
  static const std::vector<Axis> all = {
      {"pass",
       {{"evaluation", "evaluation"},
        {"training mode", "training"},
        {"gradients in evaluation", "gradients"},
        {"gradients in training", "gradients"}}},
      {"mask",
       {{"", ""},
        {"a mask of ones", "padding.right"},
        {"padding on the right", "padding.right"},
        {"padding on the left", "padding.left"}}},
      {"cache",
       {{"", ""},
        {"prefill", "cache"},
        {"decoding after a prefill", "cache"},
        {"decoding from one token", "cache"},
        {"prefill in chunks", "cache.chunks"}}},
      {"rows", {{"", ""}, {"in a batch", ""}}},
      {"length", {{"", ""}, {"", ""}, {"", "", 96}}},
      {"position", {{"", ""}, {"from position 300", "first_position", 400}}},
      {"ids", {{"", ""}, {"with special ids", ""}}},
  };
  return all;
}

std::int64_t Way::tokens() const {
  switch (values[length]) {
    case one_token:
      return 1;
    case long_sequence:
      return shows_loss() ? 40 : 70;
    default:
      return shows_loss() ? 13 : values[cache] == from_one_token ? 9 : 24;
  }
}

std::string Way::name() const {
  std::vector<std::string> words;
  for (std::size_t axis = 0; axis < values.size(); ++axis)
    if (const auto& said = axes()[axis].values[values[axis]].words; !said.empty()) words.push_back(said);
  if (uses_cache()) words.erase(words.begin());  // it is evaluation
  words.push_back(fmt::format("{} token{}", tokens(), tokens() == 1 ? "" : "s"));
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string Way::needs() const {
  for (const auto axis : {cache, pass, mask, position})
    if (const auto& value = axes()[axis].values[values[axis]]; values[axis] != 0) return value.needs;
  return "evaluation";
}

bool Way::is_simple() const {
  const auto others =
      std::count_if(values.begin(), values.end(), [](std::size_t value) { return value != 0; });
  return others == 0 || (others == 1 && values[position] == start && values[ids] == ordinary);
}

bool Way::shows_loss() const {
  return is_loss(values[pass]);
}

bool Way::uses_cache() const {
  return values[cache] != no_cache;
}

bool Way::pads() const {
  return values[mask] == right || values[mask] == left;
}

PassOptions Way::options() const {
  PassOptions options;
  options.training = values[pass] == training || values[pass] == loss_in_training;
  options.first_position = values[position] == far ? kFar : 0;
  return options;
}

std::vector<Way> ways(Subject& subject) {
  return ways([&](const std::string& capability) { return subject.can(capability); },
              subject.specification().max_position_embeddings);
}

std::vector<Way> ways(const std::function<bool(const std::string&)>& can, std::int64_t positions) {
  std::vector<std::vector<std::size_t>> possible;  // values of each axis
  std::vector<std::size_t> sizes;
  for (std::size_t axis = 0; axis < axes().size(); ++axis) {
    possible.emplace_back();
    const auto& values = axes()[axis].values;
    for (std::size_t value = 0; value < values.size(); ++value)
      if (values[value].positions <= positions && (values[value].needs.empty() || can(values[value].needs)) &&
          !(axis == pass && value == loss_in_training && !can("training")))
        possible.back().push_back(value);
    sizes.push_back(possible.back().size());
    if (possible.back().empty()) return {};
  }
  const auto padding_in_cache = [&](std::size_t side) {
    return side == no_mask || can(side == left ? "cache.padding.left" : "cache.padding.right");
  };
  const auto may_meet = [&](std::size_t a, std::size_t i, std::size_t b, std::size_t j) {
    i = possible[a][i];
    j = possible[b][j];
    if (a == mask && b == cache && j != no_cache && !padding_in_cache(i)) return false;
    return !exclude(a, i, b, j);
  };
  std::vector<Way> all;
  for (const auto& row : cover_pairs(sizes, may_meet)) {
    Way way;
    for (std::size_t axis = 0; axis < row.size(); ++axis) way.values.push_back(possible[axis][row[axis]]);
    all.push_back(std::move(way));
  }
  return all;
}

std::vector<Way> simple_ways(const std::function<bool(const std::string&)>& can) {
  std::vector<Way> all{{CoveringRow(axes().size(), 0)}};
  for (const auto axis : {pass, mask, cache})
    for (std::size_t value = 1; value < axes()[axis].values.size(); ++value) {
      auto way = all.front();
      way.values[axis] = value;
      if (!way.shows_loss() && can(way.needs())) all.push_back(way);
    }
  return all;
}

Tokens sequence_of(Subject& subject, const Way& way) {
  const auto vocabulary = subject.specification().vocab_size;
  const std::vector<std::int64_t> of_tokenizers{0, 1, 2, 3, vocabulary - 1};
  auto sequence = probe(subject, "way", 1, way.tokens()).ids.clone();
  if (vocabulary > 10) sequence = sequence.remainder(vocabulary - 5) + 4;  // none of these
  if (way.values[ids] == special) {
    for (std::int64_t i = 0; i < way.tokens(); i += 2)
      sequence[0][i] = of_tokenizers[static_cast<std::size_t>(i / 2) % of_tokenizers.size()];
  }
  return {sequence, {}, Padding::none};
}

namespace {

// How the rows of a batch are laid out.
struct Layout {
  std::int64_t row = 0;               // of the sequence that is looked at
  std::int64_t width = 0;             // of what is given first
  std::vector<std::int64_t> lengths;  // of each row, of what is given first
  Padding side = Padding::none;
};

// Of `given` tokens of the sequence; what is padded has rows of unlike lengths, so that code that applies one
// row's padding to all is wrong.
Layout layout_of(const Way& way, std::int64_t given) {
  Layout layout;
  layout.side = way.values[mask] == left    ? Padding::left
                : way.values[mask] == right ? Padding::right
                                            : Padding::none;
  layout.width = given + (way.pads() ? 5 : 0);
  layout.lengths = {given};
  if (way.values[rows] == among_others) {
    const auto shorter = way.pads() ? std::max<std::int64_t>(1, given - 2) : given;
    layout.lengths = {shorter, given};
    layout.row = 1;
    if (!way.shows_loss()) layout.lengths.push_back(layout.width);
  }
  return layout;
}

// The first `given` tokens of the sequence as row of a batch that is laid out so.
Tokens laid_out(Subject& subject, const Way& way, const Layout& layout, const at::Tensor& sequence) {
  const auto batch = static_cast<std::int64_t>(layout.lengths.size());
  auto all = at::zeros({batch, layout.width}, at::kLong);
  const auto others = probe(subject, "rows of a way", batch, layout.width).ids;
  for (std::int64_t row = 0; row < batch; ++row) {
    const auto length_of_row = layout.lengths[static_cast<std::size_t>(row)];
    const auto begin = layout.side == Padding::left ? layout.width - length_of_row : 0;
    const auto from = row == layout.row ? sequence[0] : others[row];
    all[row].narrow(0, begin, length_of_row).copy_(from.narrow(0, 0, length_of_row));
  }
  Tokens tokens{all, {}, Padding::none};
  if (way.pads()) return {all, layout.lengths, layout.side};
  if (way.values[mask] == ones) return with_mask_of_ones(tokens, Padding::right);
  return tokens;
}

// How many tokens are given at a time.
std::vector<std::int64_t> calls_of(const Way& way) {
  const auto all = way.tokens();
  switch (way.values[cache]) {
    case decoding:
      return prefill_then_single_tokens(all - 6, all);
    case from_one_token:
      return prefill_then_single_tokens(1, all);
    case chunks:
      return {all - 9, 5, 4};
    default:
      return {all};
  }
}

}  // namespace

Tokens batch_of(Subject& subject, const Way& way, const Tokens& sequence) {
  return laid_out(subject, way, layout_of(way, way.tokens()), sequence.ids);
}

at::Tensor run_way(Subject& subject, const Way& way, const Tokens& sequence) {
  const at::NoGradGuard no_gradients;
  const auto calls = calls_of(way);
  const auto layout = layout_of(way, calls.front());
  const auto first = laid_out(subject, way, layout, sequence.ids);
  const auto real = [&](const at::Tensor& logits) {
    return logits.narrow(0, layout.row, 1)
        .narrow(1, layout.side == Padding::left ? layout.width - calls.front() : 0, calls.front());
  };
  if (!way.uses_cache()) return real(logits(subject, first, way.options()));
  const auto batch = first.ids.size(0);
  const auto decoding = subject.running().decode(batch, layout.width + way.tokens() - calls.front());
  std::vector<at::Tensor> shown{real(decoding->extend(first, {}).to(at::kCPU))};
  auto more = probe(subject, "continuations of a way", batch, way.tokens()).ids.clone();
  more[layout.row].copy_(sequence.ids[0]);
  auto begin = calls.front();
  for (std::size_t call = 1; call < calls.size(); ++call) {
    const Tokens next{more.narrow(1, begin, calls[call]), {}, Padding::none};
    shown.push_back(decoding->extend(next, {}).to(at::kCPU).narrow(0, layout.row, 1));
    begin += calls[call];
  }
  subject.recorder().note_pass(way.tokens());
  return at::cat(shown, 1);
}

Way smallest_wrong(const Way& way, const std::function<bool(const Way&)>& wrong) {
  auto smallest = way;
  for (auto& value : smallest.values) {
    const auto before = std::exchange(value, 0);
    if (before != 0 && !wrong(smallest)) value = before;
  }
  return smallest;
}

at::Tensor labels_of(const Tokens& batch) {
  auto labels = at::full_like(batch.ids, kIgnoredLabel);
  for (std::int64_t row = 0; row < labels.size(0); ++row) {
    const auto width = batch.ids.size(1);
    const auto length = batch.padding == Padding::none ? width : batch.lengths[static_cast<std::size_t>(row)];
    const auto begin = batch.padding == Padding::left ? width - length : 0;
    auto of_row = labels[row].narrow(0, begin, length);
    of_row.copy_(batch.ids[row].narrow(0, begin, length));
    of_row.narrow(0, 0, 1).fill_(kIgnoredLabel);  // nothing predicts it
    of_row.narrow(0, 4, 2).fill_(kIgnoredLabel);
    if (row == 0) of_row.narrow(0, 6, 3).copy_(at::arange(3));  // what tokenizers pad, begin and end with
  }
  return labels;
}

}  // namespace plumbline
