// Correct KV caches with other layouts of keys and values.
#include <fmt/format.h>

#include <bit>
#include <set>

#include "harness/candidate/arranged_reference.hpp"
#include "harness/candidate/static_cache.hpp"

namespace plumbline::arrangements {
namespace {

// The dimensions of a cache.
struct CacheSize {
  std::int64_t layers, batch, slots, heads, size;
  std::int64_t query_heads;
  at::TensorOptions options;
};
using Layers = std::vector<KVCache::Layer>;

// A view (B, S, K, Dh) of memory whose axes have this order, outermost first.
at::Tensor allocate_in_order(const std::vector<std::int64_t>& order, const CacheSize& e) {
  const std::vector<std::int64_t> sizes{e.batch, e.slots, e.heads, e.size};
  std::vector<std::int64_t> shape, back(4);
  for (std::size_t i = 0; i < 4; ++i) {
    shape.push_back(sizes[static_cast<std::size_t>(order[i])]);
    back[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  }
  return at::zeros(shape, e.options).permute(back);
}

template <int... order>
Layers layers_in_order(const CacheSize& e) {
  Layers all;
  for (std::int64_t layer = 0; layer < e.layers; ++layer)
    all.push_back({allocate_in_order({order...}, e), allocate_in_order({order...}, e)});
  return all;
}

// Keys lie transposed, so that the product of queries and keys need not transpose them.
Layers keys_transposed(const CacheSize& e) {
  Layers all;
  for (std::int64_t layer = 0; layer < e.layers; ++layer)
    all.push_back({allocate_in_order({0, 2, 3, 1}, e), allocate_in_order({0, 2, 1, 3}, e)});
  return all;
}

Layers one_tensor(const CacheSize& e) {
  const auto whole = at::zeros({e.layers, 2, e.batch, e.heads, e.slots, e.size}, e.options);
  Layers all;
  for (std::int64_t layer = 0; layer < e.layers; ++layer)
    all.push_back({whole[layer][0].transpose(1, 2), whole[layer][1].transpose(1, 2)});
  return all;
}

Layers keys_beside_values(const CacheSize& e) {
  Layers all;
  for (std::int64_t layer = 0; layer < e.layers; ++layer) {
    const auto both = at::zeros({e.batch, e.slots, 2, e.heads, e.size}, e.options);
    all.push_back({both.select(2, 0), both.select(2, 1)});
  }
  return all;
}

Layers heads_of_both(const CacheSize& e) {
  Layers all;
  for (std::int64_t layer = 0; layer < e.layers; ++layer) {
    const auto both = at::zeros({e.batch, e.heads, e.slots, 2 * e.size}, e.options).transpose(1, 2);
    all.push_back({both.narrow(-1, 0, e.size), both.narrow(-1, e.size, e.size)});
  }
  return all;
}

Layers rows_of_projections(const CacheSize& e) {
  Layers all;
  for (std::int64_t layer = 0; layer < e.layers; ++layer) {
    const auto row = at::zeros({e.batch, e.slots, e.query_heads + 2 * e.heads, e.size}, e.options);
    all.push_back({row.narrow(2, e.query_heads, e.heads), row.narrow(2, e.query_heads + e.heads, e.heads)});
  }
  return all;
}

Layers views_of_larger_batch(const CacheSize& e) {
  auto most = e;
  most.batch = e.batch + 5;
  Layers all;
  for (const auto& layer : layers_in_order<0, 2, 1, 3>(most))
    all.push_back({layer.keys.narrow(0, 0, e.batch), layer.values.narrow(0, 0, e.batch)});
  return all;
}

Layers never_cleared(const CacheSize& e) {
  auto all = layers_in_order<0, 1, 2, 3>(e);
  for (auto& layer : all)
    for (auto& each : {layer.keys, layer.values})
      each.copy_((at::arange(each.numel(), each.options().dtype(at::kFloat)) * 12.9898)
                     .sin()
                     .mul_(700)
                     .view(each.sizes()));
  return all;
}

std::int64_t same_capacity(std::int64_t slots) {
  return slots;
}
std::int64_t round_up_to_sixteen(std::int64_t slots) {
  return (slots + 15) / 16 * 16;
}
std::int64_t round_up_to_power_of_two(std::int64_t slots) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(slots)));
}

struct Layout {
  const char *name, *what;
  Layers (*allocate)(const CacheSize&);
  std::int64_t (*room)(std::int64_t asked) = same_capacity;
  bool reads_all = false;  // unwritten slots, too: the mask hides them
};

const std::vector<Layout> kLayouts = {
    {"cache-heads-first", "the cache is ordered by sequence, head and position", layers_in_order<0, 2, 1, 3>},
    {"cache-positions-first", "the cache is ordered by position, sequence and head",
     layers_in_order<1, 0, 2, 3>},
    {"cache-axes-reversed", "the cache is ordered by coordinate, head, position and sequence",
     layers_in_order<3, 2, 1, 0>},
    {"cache-keys-transposed", "cached keys are ordered by coordinate, then by position", keys_transposed},
    {"cache-one-tensor", "keys and values of all layers lie in one tensor", one_tensor},
    {"cache-keys-beside-values", "keys and values of a layer lie in one tensor, slot by slot",
     keys_beside_values},
    {"cache-heads-of-both", "each cached head holds its key, followed by its value", heads_of_both},
    {"cache-in-projections", "keys and values are views of rows as wide as a fused projection with queries",
     rows_of_projections},
    {"cache-of-larger-batch", "the cache has room for five more sequences, and shows only a part of itself",
     views_of_larger_batch},
    {"cache-never-cleared", "unwritten slots hold what was left in memory", never_cleared},
    {"cache-read-whole", "attention reads all slots, and the mask hides the unwritten ones", never_cleared,
     round_up_to_sixteen, true},
    {"cache-power-of-two", "the cache has room for the next power of two", layers_in_order<0, 2, 1, 3>,
     round_up_to_power_of_two},
};

class LayoutVariant : public ArrangedReference {
 public:
  LayoutVariant(const Layout& layout, const std::string& title, const Specification& specification,
                at::ScalarType type, at::Device device)
      : ArrangedReference(title, specification, type, device),
        layout_(layout),
        specification_(specification) {
    if (layout.reads_all)
      formulas_.readable_slots = [](std::int64_t, std::int64_t capacity) { return capacity; };
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    Model model(specification_, inner().weights(), formulas_);
    auto cache = model.make_cache(batch, layout_.room(capacity));
    cache.layers = layout_.allocate({specification_.num_hidden_layers, batch, cache.capacity,
                                     specification_.num_key_value_heads, specification_.head_size(),
                                     specification_.num_attention_heads, cache.layers[0].keys.options()});
    return std::make_unique<LayoutDecoding>(std::move(model), std::move(cache));
  }

 private:
  class LayoutDecoding : public Decoding {
   public:
    LayoutDecoding(Model model, KVCache cache) : model_(std::move(model)), cache_(std::move(cache)) {}
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      return model_.extend(cache_, tokens, options);
    }
    CacheView show() override {
      auto view = show_cache(cache_);
      view.held = view.bytes;
      view.bytes = 0;
      for (const auto& layer : cache_.layers)
        view.bytes += static_cast<std::int64_t>(layer.keys.nbytes() + layer.values.nbytes());
      return view;
    }
    void fill_unwritten(double value) override { plumbline::fill_unwritten(cache_, value); }

   private:
    Model model_;
    KVCache cache_;
  };
  Layout layout_;
  Specification specification_;
  Formulas formulas_;
};

// Storage of the keys or values of one layer, other than a single tensor.
class SlotStore {
 public:
  virtual ~SlotStore() = default;
  virtual void append(const at::Tensor& slots) = 0;  // (B, T, K, Dh)
  virtual at::Tensor read() const = 0;               // (B, S, K, Dh): all that was appended
  virtual std::int64_t capacity() const = 0;
  virtual std::int64_t bytes() const = 0;
  virtual void fill_unwritten(double) {}
};

// A tensor for each pass, concatenated for reading.
class Pieces : public SlotStore {
 public:
  explicit Pieces(const CacheSize& e) : pieces_{at::zeros({e.batch, 0, e.heads, e.size}, e.options)} {}
  void append(const at::Tensor& slots) override { pieces_.push_back(slots.clone()); }
  at::Tensor read() const override { return at::cat(pieces_, 1); }
  std::int64_t capacity() const override { return read().size(1); }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(read().nbytes()); }

 private:
  std::vector<at::Tensor> pieces_;
};

// Doubles the capacity whenever it is full.
class Doubling : public SlotStore {
 public:
  explicit Doubling(const CacheSize& e) : kept_(at::zeros({e.batch, 1, e.heads, e.size}, e.options)) {}
  void append(const at::Tensor& slots) override {
    while (length_ + slots.size(1) > kept_.size(1)) kept_ = at::cat({kept_, at::zeros_like(kept_)}, 1);
    kept_.narrow(1, length_, slots.size(1)).copy_(slots);
    length_ += slots.size(1);
  }
  at::Tensor read() const override { return kept_.narrow(1, 0, length_); }
  std::int64_t capacity() const override { return kept_.size(1); }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(kept_.nbytes()); }
  void fill_unwritten(double value) override {
    kept_.narrow(1, length_, kept_.size(1) - length_).fill_(value);
  }

 private:
  at::Tensor kept_;
  std::int64_t length_ = 0;
};

// Pages of sixteen slots from a pool that all sequences share, found by a table (Kwon et al. 2023, section
// 4.2).
class Pages : public SlotStore {
 public:
  explicit Pages(const CacheSize& e) : pages_(round_up_to_sixteen(e.slots) / kSlots) {
    pool_ = at::zeros({e.batch * pages_, kSlots, e.heads, e.size}, e.options);
    // Adjacent pages of a sequence are not adjacent in the pool.
    table_ = at::arange(e.batch * pages_, e.options.dtype(at::kLong)).flip(0).view({pages_, e.batch}).t();
  }
  void append(const at::Tensor& slots) override {
    for (std::int64_t i = 0; i < slots.size(1); ++i, ++length_)
      pool_.select(1, length_ % kSlots)
          .index_copy_(0, table_.select(1, length_ / kSlots), slots.select(1, i));
  }
  at::Tensor read() const override {
    return pool_.index_select(0, table_.flatten())
        .view({table_.size(0), pages_ * kSlots, pool_.size(2), pool_.size(3)})
        .narrow(1, 0, length_);
  }
  std::int64_t capacity() const override { return pages_ * kSlots; }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(pool_.nbytes()); }
  void fill_unwritten(double value) override {
    for (auto slot = length_; slot < capacity(); ++slot)
      pool_.select(1, slot % kSlots).index_fill_(0, table_.select(1, slot / kSlots), value);
  }

 private:
  static constexpr std::int64_t kSlots = 16;
  std::int64_t pages_, length_ = 0;
  at::Tensor pool_, table_;  // (pages of all, slots, K, Dh); (B, pages)
};

// Copies the store into a cache before each pass, and the new slots into the store after it.
template <typename Kind, bool refuses>
class StoreVariant : public ArrangedReference {
 public:
  StoreVariant(const std::string& title, const Specification& specification, at::ScalarType type,
               at::Device device)
      : ArrangedReference(title, specification, type, device), specification_(specification) {}
  std::set<std::string> capabilities() const override {
    return refuses ? capabilities_without({}) : capabilities_without({"cache.capacity"});
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return std::make_unique<StoreDecoding>(Model(specification_, inner().weights()), batch, capacity);
  }

 private:
  class StoreDecoding : public Decoding {
   public:
    StoreDecoding(Model model, std::int64_t batch, std::int64_t capacity)
        : model_(std::move(model)), batch_(batch), past_(model_.make_cache(batch, 0)) {
      const auto& s = model_.specification();
      const CacheSize size{s.num_hidden_layers,           batch,         capacity,
                           s.num_key_value_heads,         s.head_size(), s.num_attention_heads,
                           past_.layers[0].keys.options()};
      for (std::int64_t i = 0; i < 2 * s.num_hidden_layers; ++i)
        stores_.push_back(std::make_unique<Kind>(size));
    }
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      const auto before = past_.length, more = tokens.ids.size(1);
      if (refuses && before + more > stores_[0]->capacity())
        throw CacheOverrun(
            fmt::format("{} slots more than the {} of the cache", more, stores_[0]->capacity()));
      auto now = model_.make_cache(batch_, before + more);
      for (std::size_t i = 0; i < stores_.size(); ++i)
        keys_or_values(now, i).narrow(1, 0, before).copy_(stores_[i]->read());
      now.real.narrow(1, 0, before).copy_(past_.real);
      now.seen = past_.seen;
      now.length = before;
      auto logits = model_.extend(now, tokens, options);
      for (std::size_t i = 0; i < stores_.size(); ++i)
        stores_[i]->append(keys_or_values(now, i).narrow(1, before, more));
      past_ = std::move(now);
      past_.layers.clear();
      return logits;
    }
    CacheView show() override {
      CacheView view{{}, past_.length, stores_[0]->capacity(), 0};
      for (std::size_t i = 0; i < stores_.size(); i += 2)
        view.layers.push_back({stores_[i]->read(), stores_[i + 1]->read()});
      for (const auto& store : stores_) view.bytes += store->bytes();
      return view;
    }
    void fill_unwritten(double value) override {
      for (const auto& store : stores_) store->fill_unwritten(value);
    }

   private:
    static at::Tensor& keys_or_values(KVCache& cache, std::size_t i) {
      return i % 2 == 0 ? cache.layers[i / 2].keys : cache.layers[i / 2].values;
    }
    Model model_;
    std::int64_t batch_;
    KVCache past_;  // without its layers, which are in the stores
    std::vector<std::unique_ptr<SlotStore>> stores_;
  };
  Specification specification_;
};

}  // namespace

std::vector<Arrangement> cache_arrangements() {
  std::vector<Arrangement> all;
  for (const auto& layout : kLayouts)
    all.push_back({layout.name, layout.what,
                   [layout](const std::string& title, const Specification& specification, at::ScalarType type,
                            at::Device device) -> std::unique_ptr<Candidate> {
                     return std::make_unique<LayoutVariant>(layout, title, specification, type, device);
                   }});
  all.push_back({"cache-in-pages", "the cache is pages of sixteen slots, found by a table",
                 make<StoreVariant<Pages, true>>});
  all.push_back({"cache-in-pieces", "the cache is a piece for each pass, joined to be read",
                 make<StoreVariant<Pieces, false>>});
  all.push_back({"cache-doubling", "the cache doubles its room whenever it is full",
                 make<StoreVariant<Doubling, false>>});
  return all;
}

}  // namespace plumbline::arrangements
