// Correct passes with batches, padding, parameters and gradients in another order.
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <limits>
#include <optional>

#include "harness/candidate/arranged_reference.hpp"

namespace plumbline::arrangements {
namespace {

std::int64_t length_of(const Tokens& tokens, std::int64_t row) {
  return tokens.lengths.empty() ? tokens.ids.size(1) : tokens.lengths[static_cast<std::size_t>(row)];
}

// Every batch has a mask, of ones where nothing is padding.
class AlwaysMasked : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    return inner().forward(masked(tokens), options);
  }
  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    return inner().gradients(masked(tokens), labels, options);
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return std::make_unique<Masked>(inner().decode(batch, capacity));
  }

 private:
  static Tokens masked(Tokens tokens) {
    if (tokens.padding != Padding::none) return tokens;
    tokens.lengths.assign(static_cast<std::size_t>(tokens.ids.size(0)), tokens.ids.size(1));
    tokens.padding = Padding::right;
    return tokens;
  }
  class Masked : public Decoding {
   public:
    explicit Masked(std::unique_ptr<Decoding> inner) : inner_(std::move(inner)) {}
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      return inner_->extend(masked(tokens), options);
    }
    CacheView show() override { return inner_->show(); }
    void fill_unwritten(double value) override { inner_->fill_unwritten(value); }

   private:
    std::unique_ptr<Decoding> inner_;
  };
};

// Padding is removed, each sequence runs alone, and results are padded with zeros. Caches are shown together
// where the sequences have one length.
class Unpadded : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    return run_row_by_row(tokens, options, [&](std::int64_t, const Tokens& row, const PassOptions& own) {
      return inner().forward(row, own);
    });
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    auto rows = std::make_unique<Rows>();
    for (std::int64_t row = 0; row < batch; ++row) rows->rows.push_back(inner().decode(1, capacity));
    return rows;
  }

 private:
  using Run = std::function<at::Tensor(std::int64_t row, const Tokens&, const PassOptions&)>;
  static at::Tensor run_row_by_row(const Tokens& tokens, const PassOptions& options, const Run& run) {
    const auto width = tokens.ids.size(1);
    std::vector<std::pair<Stage, std::vector<at::Tensor>>> seen;  // of each stage, row by row
    std::vector<at::Tensor> all;
    for (std::int64_t row = 0; row < tokens.ids.size(0); ++row) {
      const auto length = length_of(tokens, row);
      const auto before = tokens.padding == Padding::left ? width - length : 0,
                 after = width - length - before;
      auto row_options = without_observer(options);
      std::size_t place = 0;
      if (options.observer)
        row_options.observer = [&](const Stage& stage, const at::Tensor& value) {
          if (row == 0) seen.push_back({stage, {}});
          std::vector<std::int64_t> padding{before, after};
          if (!has_keys(stage.kind))
            padding.insert(padding.begin(), static_cast<std::size_t>(2 * (value.dim() - 2)), 0);
          if (has_keys(stage.kind)) padding.insert(padding.end(), {before, after});
          const auto fill = stage.kind == "scores" ? -std::numeric_limits<double>::infinity() : 0.0;
          seen.at(place++).second.push_back(at::constant_pad_nd(value, padding, fill));
        };
      const auto logits =
          run(row, {tokens.ids.narrow(0, row, 1).narrow(1, before, length), {}, Padding::none}, row_options);
      all.push_back(at::constant_pad_nd(logits, {0, 0, before, after}));
    }
    for (const auto& [stage, rows] : seen)
      // After prompts of unlike lengths, rows see unlike numbers of keys.
      if (std::all_of(rows.begin(), rows.end(),
                      [&rows = rows](const auto& one) { return one.sizes() == rows[0].sizes(); }))
        options.observer(stage, at::cat(rows, 0));
    return at::cat(all, 0);
  }
  struct Rows : Decoding {
    std::vector<std::unique_ptr<Decoding>> rows;
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      return run_row_by_row(tokens, options,
                            [&](std::int64_t row, const Tokens& own, const PassOptions& given) {
                              return rows[static_cast<std::size_t>(row)]->extend(own, given);
                            });
    }
    CacheView show() override {
      auto all = rows[0]->show();
      for (std::size_t row = 1; row < rows.size(); ++row) {
        const auto one = rows[row]->show();
        if (one.length != all.length) throw NotShown("its sequences have caches of unlike lengths");
        for (std::size_t layer = 0; layer < all.layers.size(); ++layer)
          all.layers[layer] = {at::cat({all.layers[layer].keys, one.layers[layer].keys}, 0),
                               at::cat({all.layers[layer].values, one.layers[layer].values}, 0)};
        all.bytes += one.bytes;
      }
      return all;
    }
    void fill_unwritten(double value) override {
      for (const auto& row : rows) row->fill_unwritten(value);
    }
  };
};

// Padding on the right is moved to the left first, as loops that generate want it.
class TurnedLeft : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    if (tokens.padding != Padding::right) return inner().forward(tokens, options);
    const Tokens turned{rolled(tokens.ids, tokens, 1, {0}), tokens.lengths, Padding::left};
    auto turning = without_observer(options);
    if (options.observer)
      turning.observer = [&](const Stage& stage, const at::Tensor& value) {
        options.observer(stage, rolled(value, tokens, -1,
                                       has_keys(stage.kind) ? std::vector<std::int64_t>{1, 2}
                                                            : std::vector<std::int64_t>{0}));
      };
    return rolled(inner().forward(turned, turning), tokens, -1, {0});
  }

 private:
  // Each row along these of its axes, by as much as it has of padding.
  static at::Tensor rolled(const at::Tensor& values, const Tokens& tokens, std::int64_t sign,
                           const std::vector<std::int64_t>& axes) {
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 0; row < values.size(0); ++row) {
      const std::vector<std::int64_t> by(axes.size(), sign * (tokens.ids.size(1) - length_of(tokens, row)));
      rows.push_back(values[row].roll(by, axes));
    }
    return at::stack(rows);
  }
};

// Rows of query and key projections stand in the other order of coordinates, and the other pairs turn, as
// converted checkpoints have it. What is shown is put back into the specification's order.
class PairsReordered : public ArrangedReference {
 public:
  PairsReordered(const std::string& title, const Specification& specification, at::ScalarType type,
                 at::Device device)
      : ArrangedReference(title, specification, type, device, reordered(specification)),
        rotary_(specification.rotary) {}
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    return inner().forward(tokens, put_back(options, rotary_));
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return std::make_unique<PutBack>(inner().decode(batch, capacity), rotary_);
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) override {
    return in_order(inner().rotate(in_order(x, other(rotary_)), positions), rotary_);
  }

 private:
  static Rotary other(Rotary rotary) { return rotary == Rotary::halves ? Rotary::pairs : Rotary::halves; }
  // The coordinates of a head, the last axis, from the other order to that in which these turn.
  static at::Tensor in_order(const at::Tensor& x, Rotary rotary) {
    const auto half = x.size(-1) / 2;
    const auto pairs =
        rotary == Rotary::halves ? std::vector<std::int64_t>{half, 2} : std::vector<std::int64_t>{2, half};
    return x.unflatten(-1, pairs).transpose(-1, -2).flatten(-2);
  }
  static Formulas reordered(const Specification& s) {
    Formulas formulas;
    const auto to = other(s.rotary);
    const auto size = s.head_size();
    formulas.rotate_query = formulas.rotate_key = [to](const at::Tensor& x, const at::Tensor& angles,
                                                       Rotary) { return plumbline::rotate(x, angles, to); };
    formulas.read_parameter = [to, size](const Weights& weights, const std::string& name) {
      const auto& value = weights.at(name);
      bool turns = false;
      for (const auto* part : {".q_proj.", ".k_proj.", ".q_norm.", ".k_norm."})
        turns = turns || name.find(part) != std::string::npos;
      if (!turns) return value;
      const auto rows = value.unflatten(0, at::IntArrayRef{-1, size}).movedim(1, -1);  // (heads, ..., Dh)
      return in_order(rows, to).movedim(-1, 1).flatten(0, 1);
    };
    return formulas;
  }
  static PassOptions put_back(PassOptions options, Rotary rotary) {
    if (!options.observer) return options;
    options.observer = [inner = options.observer, rotary](const Stage& stage, const at::Tensor& value) {
      bool turned = false;
      for (const auto* kind : {"q", "k", "q_rotated", "k_rotated"}) turned = turned || stage.kind == kind;
      inner(stage, turned ? in_order(value, rotary) : value);
    };
    return options;
  }
  class PutBack : public Decoding {
   public:
    PutBack(std::unique_ptr<Decoding> inner, Rotary rotary) : inner_(std::move(inner)), rotary_(rotary) {}
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      return inner_->extend(tokens, put_back(options, rotary_));
    }
    CacheView show() override {
      auto view = inner_->show();
      for (auto& layer : view.layers) layer.keys = in_order(layer.keys, rotary_);
      return view;
    }
    void fill_unwritten(double value) override { inner_->fill_unwritten(value); }

   private:
    std::unique_ptr<Decoding> inner_;
    Rotary rotary_;
  };
  Rotary rotary_;
};

// A batch's gradients are those of its sequences, added up by how many labels each has.
class Accumulated : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    const auto counted = (labels.narrow(1, 1, labels.size(1) - 1) != kIgnoredLabel).sum(1);  // (B)
    const auto all = counted.sum().item<double>();
    std::optional<Gradients> sum;
    for (std::int64_t row = 0; row < labels.size(0); ++row) {
      const auto share = counted[row].item<double>() / all;
      if (!(share > 0)) continue;
      auto one = inner().gradients(row_of(tokens, row), labels.narrow(0, row, 1), options);
      one.loss = one.loss * share;
      for (auto& [name, gradient] : one.parameters) gradient = gradient * share;
      if (!sum) {
        sum = std::move(one);
        continue;
      }
      sum->loss = sum->loss + one.loss;
      for (auto& [name, gradient] : sum->parameters) gradient = gradient + one.parameters.at(name);
      std::erase_if(sum->unreached, [&](const std::string& name) { return !one.unreached.contains(name); });
    }
    return sum ? *sum : inner().gradients(tokens, labels, options);
  }
};

// Only what enters each layer is kept; going back, a layer is computed again when its turn comes (Chen et al.
// 2016).
class Checkpointed : public ArrangedReference {
 public:
  Checkpointed(const std::string& title, const Specification& specification, at::ScalarType type,
               at::Device device)
      : ArrangedReference(title, specification, type, device), specification_(specification) {}
  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    const at::AutoGradMode with_gradients(true);
    Weights leaves;
    for (const auto& [name, values] : inner().weights())
      leaves.emplace(name, values.detach().clone().set_requires_grad(true));
    // What leaves each part: the embedding, then every layer.
    std::vector<Stage> ends{{"embedding"}};
    for (std::int64_t layer = 0; layer < specification_.num_hidden_layers; ++layer)
      ends.push_back({"after_feed_forward", layer});
    std::map<Stage, at::Tensor> kept;
    {
      const at::NoGradGuard first_pass;
      pass(tokens, options, leaves, [&](const Stage& stage, const at::Tensor& value) {
        if (std::find(ends.begin(), ends.end(), stage) != ends.end()) kept[stage] = value;
        return value;
      });
    }
    at::Tensor loss, upstream;  // of what leaves the part that follows
    for (auto part = static_cast<std::int64_t>(ends.size()); part >= 0; --part) {
      // At both ends of the model there is none.
      const auto begin = part == 0 ? Stage() : ends[static_cast<std::size_t>(part) - 1];
      const auto end =
          part == static_cast<std::int64_t>(ends.size()) ? Stage() : ends[static_cast<std::size_t>(part)];
      at::Tensor entered, left;
      const auto logits =
          pass(tokens, options, leaves, [&](const Stage& stage, const at::Tensor& value) -> at::Tensor {
            if (stage == begin) return entered = kept.at(stage).detach().set_requires_grad(true);
            if (stage == end) left = value;
            return value;
          });
      if (end == Stage()) {
        loss = next_token_loss(logits, labels);
        loss.backward();
      } else {
        left.backward(upstream);
      }
      if (entered.defined()) upstream = entered.grad();
    }
    Gradients result{loss.detach(), {}};
    for (const auto& [name, leaf] : leaves) {
      result.parameters.emplace(name, leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
      if (!leaf.grad().defined()) result.unreached.insert(name);
    }
    return result;
  }

 private:
  at::Tensor pass(const Tokens& tokens, const PassOptions& options, const Weights& weights,
                  const Replacement& replace) const {
    auto replacing = options;
    replacing.replacement = replace;
    return Model(specification_, weights).forward(tokens, replacing);
  }
  Specification specification_;
};

}  // namespace

std::vector<Arrangement> pass_arrangements() {
  return {
      {"mask-always", "a mask of ones comes with every batch that has no padding", make<AlwaysMasked>},
      {"padding-taken-off", "padding is removed, and each sequence runs alone, with its own cache",
       make<Unpadded>},
      {"padding-turned-left", "padding on the right is moved to the left first", make<TurnedLeft>},
      {"rotary-reordered", "rows of the projections have another order, and other pairs are rotated",
       make<PairsReordered>},
      {"gradients-by-sequence", "gradients of a batch are those of its sequences, added up",
       make<Accumulated>},
      {"gradients-recomputed", "in the backward pass each layer is computed again from its input",
       make<Checkpointed>},
  };
}

}  // namespace plumbline::arrangements
