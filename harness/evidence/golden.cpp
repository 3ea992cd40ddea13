#include "harness/evidence/golden.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/evidence/hdf5_handle.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

constexpr std::uint64_t kLargestManifest = 64 << 20;
constexpr std::uint64_t kLargestDataset = 1ull << 30;  // bytes

using Shape = std::vector<std::int64_t>;
constexpr std::int64_t kAny = -1;

// An open HDF5 file. Errors: InputError naming the file and the object.
class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path)
      : path_(path), file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose) {
    if (!file_.valid()) refuse("/", "is not a readable HDF5 file");
  }

  [[noreturn]] void refuse(const std::string& object, const std::string& complaint) const {
    throw InputError(
        fmt::format("{}: {}: {}; run `./plumbline golden check`", path_.string(), object, complaint));
  }

  bool has(const std::string& name) const { return H5Lexists(file_.get(), name.c_str(), H5P_DEFAULT) > 0; }

  std::vector<std::string> children(const std::string& group) const {
    std::vector<std::string> names;
    const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* into) -> herr_t {
      static_cast<std::vector<std::string>*>(into)->emplace_back(name);
      return 0;
    };
    hsize_t start = 0;
    const Hdf5Handle opened(H5Gopen2(file_.get(), group.c_str(), H5P_DEFAULT), H5Gclose);
    if (!opened.valid() || H5Literate(opened.get(), H5_INDEX_NAME, H5_ITER_INC, &start, collect, &names) < 0)
      refuse(group, "expected a group");
    return names;
  }

  // A dataset of float64 or int64 with the given shape (kAny: of any size there), as a CPU tensor of that
  // type.
  at::Tensor read(const std::string& name, at::ScalarType type, const Shape& expected) const {
    const Hdf5Handle dataset(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
    if (!dataset.valid()) refuse(name, "is missing; expected a dataset");
    require_inside(name, dataset.get());
    const Hdf5Handle stored(H5Dget_type(dataset.get()), H5Tclose);
    const bool real = type == at::kDouble;
    if (H5Tget_class(stored.get()) != (real ? H5T_FLOAT : H5T_INTEGER) || H5Tget_size(stored.get()) != 8)
      refuse(name, fmt::format("has another type, expected {}", real ? "float64" : "int64"));
    const Hdf5Handle space(H5Dget_space(dataset.get()), H5Sclose);
    const int found = H5Sget_simple_extent_ndims(space.get());
    const auto rank = static_cast<int>(expected.size());
    if (found != rank) refuse(name, fmt::format("has rank {}, expected {}", found, rank));
    std::vector<hsize_t> extent(expected.size());
    H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr);
    std::uint64_t bytes = 8;
    for (const auto size : extent) {
      if (size == 0 || size > kLargestDataset / bytes)
        refuse(name, fmt::format("has shape [{}], expected 1 byte to 1 GiB", fmt::join(extent, ", ")));
      bytes *= size;
    }
    const Shape shape(extent.begin(), extent.end());
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
      if (expected[axis] != kAny && expected[axis] != shape[axis])
        refuse(name,
               fmt::format("has {} elements along axis {}, expected {}", shape[axis], axis, expected[axis]));
    auto tensor = at::empty(shape, type);
    if (H5Dread(dataset.get(), real ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                tensor.data_ptr()) < 0)
      refuse(name, "cannot be read");
    return tensor;
  }

  std::string text_attribute(const std::string& object, const char* name) const {
    const Hdf5Handle attribute(H5Aopen_by_name(file_.get(), object.c_str(), name, H5P_DEFAULT, H5P_DEFAULT),
                               H5Aclose);
    if (!attribute.valid()) refuse(object, fmt::format("attribute '{}' is missing", name));
    const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
    const Hdf5Handle space(H5Aget_space(attribute.get()), H5Sclose);
    if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1)
      refuse(object, fmt::format("attribute '{}' is not text", name));
    if (H5Tis_variable_str(type.get()) > 0) {
      char* text = nullptr;
      const Hdf5Handle wanted(H5Tcopy(H5T_C_S1), H5Tclose);
      H5Tset_size(wanted.get(), H5T_VARIABLE);
      H5Tset_cset(wanted.get(), H5Tget_cset(type.get()));
      if (H5Aread(attribute.get(), wanted.get(), &text) < 0 || text == nullptr)
        refuse(object, fmt::format("attribute '{}' cannot be read", name));
      std::string value(text);
      H5free_memory(text);
      return value;
    }
    std::string value(std::min<std::size_t>(H5Tget_size(type.get()), 4096), '\0');
    if (H5Tget_size(type.get()) > 4096 || H5Aread(attribute.get(), type.get(), value.data()) < 0)
      refuse(object, fmt::format("attribute '{}' cannot be read", name));
    return value.substr(0, value.find('\0'));
  }

  std::int64_t integer_attribute(const std::string& object, const char* name) const {
    std::int64_t value = 0;
    const Hdf5Handle attribute(H5Aopen_by_name(file_.get(), object.c_str(), name, H5P_DEFAULT, H5P_DEFAULT),
                               H5Aclose);
    const Hdf5Handle space(attribute.valid() ? H5Aget_space(attribute.get()) : -1, H5Sclose);
    const Hdf5Handle type(attribute.valid() ? H5Aget_type(attribute.get()) : -1, H5Tclose);
    if (!attribute.valid() || H5Tget_class(type.get()) != H5T_INTEGER ||
        H5Sget_simple_extent_npoints(space.get()) != 1 ||
        H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0)
      refuse(object, fmt::format("attribute '{}' is missing or not a whole number", name));
    return value;
  }

  const std::filesystem::path& path() const { return path_; }

 private:
  // The hash covers this file alone, so that data in other files, which HDF5 allows, are refused.
  void require_inside(const std::string& name, hid_t dataset) const {
    std::string file(path_.native().size() + 2, '\0');
    const auto length = H5Fget_name(dataset, file.data(), file.size());
    const Hdf5Handle creation(H5Dget_create_plist(dataset), H5Pclose);
    if (length != static_cast<ssize_t>(path_.native().size()) ||
        file.compare(0, path_.native().size(), path_.native()) != 0 ||
        H5Pget_external_count(creation.get()) != 0 || H5Pget_layout(creation.get()) == H5D_VIRTUAL)
      refuse(name, "lies in another file; expected its values in this one");
  }

  std::filesystem::path path_;
  Hdf5Handle file_;
};

// B: the probe's rows, R: the positions that were recorded of each.
Shape shape_of(const std::string& kind, const GoldenProbe& probe, const Specification& s) {
  const auto batch = probe.tokens.ids.size(0), positions = probe.positions.size(0);
  if (kind == "q" || kind == "q_rotated") return {batch, positions, s.num_attention_heads, s.head_size()};
  if (kind == "k" || kind == "v" || kind == "k_rotated")
    return {batch, positions, s.num_key_value_heads, s.head_size()};
  if (has_keys(kind)) return {batch, s.num_attention_heads, positions, probe.tokens.ids.size(1)};
  if (kind == "gate" || kind == "up" || kind == "gated") return {batch, positions, s.intermediate_size};
  return {batch, positions, kind == "logits" ? s.vocab_size : s.hidden_size};
}

struct ManifestEntry {
  std::filesystem::path path;  // of the golden file, whose SHA-256 is the one that the manifest records
  Json float32_error;
};

// Empty where the manifest lists no file for this specification.
std::optional<ManifestEntry> find_manifest_entry(const std::filesystem::path& directory,
                                                 const Specification& specification) {
  const auto manifest_path = directory / "manifest.json";
  const auto manifest = parse_json(read_text(manifest_path, kLargestManifest), manifest_path.string());
  const auto refuse = [&](const std::string& complaint) -> void {
    throw InputError(
        fmt::format("{}: {}; run `./plumbline golden check`", manifest_path.string(), complaint));
  };
  if (!manifest.is_object() || manifest.value("format", Json()) != "plumbline-golden-manifest" ||
      manifest.value("version", Json()) != 1 || !manifest.contains("files") || !manifest["files"].is_array())
    refuse("expected a golden manifest of version 1");
  for (const auto& entry : manifest["files"]) {
    if (!entry.is_object() || !entry.contains("file") || !entry["file"].is_string() ||
        !entry.contains("sha256") || !entry["sha256"].is_string() || !entry.contains("specification") ||
        !entry["specification"].is_string() || !entry.contains("float32_error") ||
        !entry["float32_error"].is_object())
      refuse("an entry of 'files' lacks file, sha256, specification or float32_error");
    if (entry["specification"] != specification.name) continue;
    const auto name = entry["file"].get<std::string>();
    if (name.find('/') != std::string::npos) refuse(fmt::format("file '{}' is not a plain file name", name));
    const auto path = directory / name;
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) refuse(fmt::format("{} is missing", path.string()));
    const auto actual = sha256_of_file(path);
    if (entry["sha256"] != actual)
      throw InputError(
          fmt::format("{}: its SHA-256 is {}, but {} records {}; restore the file, or run `./plumbline "
                      "golden record` and `accept`",
                      path.string(), actual, manifest_path.string(), entry["sha256"].dump()));
    return ManifestEntry{path, entry["float32_error"]};
  }
  return std::nullopt;
}

// Returns the seed of the weights.
std::uint32_t check_attributes(const GoldenFile& file, const Specification& specification) {
  if (file.text_attribute("/", "format") != "plumbline-golden" ||
      file.integer_attribute("/", "version") != 1 || file.integer_attribute("/", "scheme") != 1)
    file.refuse("/", "expected format plumbline-golden, version 1, weight scheme 1");
  if (file.text_attribute("/", "specification_sha256") != specification.sha256)
    file.refuse("/",
                fmt::format("was recorded for another '{}': its specification file had a different SHA-256",
                            specification.name));
  const auto seed = file.integer_attribute("/", "seed");
  if (seed < 0 || seed > UINT32_MAX)
    file.refuse("/", fmt::format("seed is {}, expected 0 to {}", seed, UINT32_MAX));
  return static_cast<std::uint32_t>(seed);
}

Tokens read_tokens(const GoldenFile& file, const std::string& root, const Specification& specification) {
  Tokens tokens;
  tokens.ids = file.read(root + "/tokens", at::kLong, {kAny, kAny});
  const auto lengths = file.read(root + "/lengths", at::kLong, {kAny});
  if (lengths.size(0) != tokens.ids.size(0) || (lengths < 1).any().item<bool>() ||
      (lengths > tokens.ids.size(1)).any().item<bool>() || (tokens.ids < 0).any().item<bool>() ||
      (tokens.ids >= specification.vocab_size).any().item<bool>())
    file.refuse(root, "tokens or lengths are out of range");
  tokens.lengths.assign(lengths.data_ptr<std::int64_t>(), lengths.data_ptr<std::int64_t>() + lengths.numel());
  const auto padding = file.text_attribute(root, "padding");
  if (padding != "none" && padding != "right" && padding != "left") file.refuse(root, "unknown padding");
  tokens.padding = padding == "right" ? Padding::right : padding == "left" ? Padding::left : Padding::none;
  return tokens;
}

GoldenProbe read_probe(const GoldenFile& file, const std::string& name, const Specification& specification) {
  const auto root = "/probes/" + name;
  GoldenProbe probe;
  probe.name = name;
  probe.tokens = read_tokens(file, root, specification);
  const auto length = probe.tokens.ids.size(1);
  probe.positions = file.read(root + "/positions", at::kLong, {kAny});
  if ((probe.positions < 0).any().item<bool>() || (probe.positions >= length).any().item<bool>())
    file.refuse(root + "/positions", fmt::format("expected 0 to {}", length - 1));
  const auto stored = file.children(root + "/stages");
  for (const auto& stage : stages_in_order(specification.num_hidden_layers))
    if (std::find(stored.begin(), stored.end(), to_string(stage)) != stored.end())
      probe.stages.push_back(stage);
  if (probe.stages.size() != stored.size())
    file.refuse(root + "/stages", "holds a stage that this model does not have");
  probe.has_cache = file.has(root + "/cache");
  probe.has_decode = file.has(root + "/decode");
  if (probe.stages.empty()) file.refuse(root + "/stages", "holds nothing to compare");
  return probe;
}

}  // namespace

struct Golden::State {
  GoldenFile file;
  Specification specification;
  Json errors;  // manifest: float32_error
  std::vector<GoldenProbe> probes;
  std::uint32_t seed;
};

std::optional<Golden> Golden::load(const std::filesystem::path& directory,
                                   const Specification& specification) {
  const auto entry = find_manifest_entry(directory, specification);
  if (!entry) return std::nullopt;
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // errors are reported by GoldenFile
  Golden golden;
  golden.state_.reset(new State{GoldenFile(entry->path), specification, entry->float32_error, {}, 0});
  auto& state = *golden.state_;
  state.seed = check_attributes(state.file, specification);
  for (const auto& name : state.file.children("/probes"))
    state.probes.push_back(read_probe(state.file, name, specification));
  if (state.probes.empty()) state.file.refuse("/probes", "holds no probe");
  std::stable_sort(state.probes.begin(), state.probes.end(),
                   [](const auto& a, const auto& b) { return a.tokens.ids.numel() < b.tokens.ids.numel(); });
  return golden;
}

const std::vector<GoldenProbe>& Golden::probes() const {
  return state_->probes;
}
std::uint32_t Golden::seed() const {
  return state_->seed;
}

at::Tensor Golden::stage(const GoldenProbe& probe, const Stage& stage) const {
  return state_->file.read(fmt::format("/probes/{}/stages/{}", probe.name, stage), at::kDouble,
                           shape_of(stage.kind, probe, state_->specification));
}
at::Tensor Golden::decode_logits(const GoldenProbe& probe) const {
  return state_->file.read(fmt::format("/probes/{}/decode/logits", probe.name), at::kDouble,
                           shape_of("logits", probe, state_->specification));
}
at::Tensor Golden::cached(const GoldenProbe& probe, std::int64_t layer,
                          const std::string& keys_or_values) const {
  const auto& s = state_->specification;
  return state_->file.read(
      fmt::format("/probes/{}/cache/layers.{}.{}", probe.name, layer, keys_or_values), at::kDouble,
      {probe.tokens.ids.size(0), probe.tokens.ids.size(1), s.num_key_value_heads, s.head_size()});
}
Golden::Rotation Golden::rotation() const {
  const auto& file = state_->file;
  const auto head_size = state_->specification.head_size();
  Rotation rotation{file.read("/rotation/positions", at::kLong, {kAny}),
                    file.read("/rotation/vectors", at::kDouble, {kAny, head_size}),
                    file.read("/rotation/rotated", at::kDouble, {kAny, head_size})};
  if (rotation.vectors.sizes() != rotation.rotated.sizes() ||
      rotation.vectors.size(0) != rotation.positions.size(0))
    file.refuse("/rotation", "positions, vectors and rotated disagree in shape");
  return rotation;
}

std::optional<Golden::Slopes> Golden::slopes() const {
  const auto& [file, s, errors, probes, seed] = *state_;
  if (!file.has("/gradients")) return std::nullopt;
  Slopes slopes;
  auto& ids = slopes.tokens.ids = file.read("/gradients/tokens", at::kLong, {kAny, kAny});
  slopes.tokens.padding = Padding::none;
  const auto batch = ids.size(0), length = ids.size(1);
  const auto in_vocabulary = [&](const at::Tensor& tokens) {
    return tokens.ge(0).logical_and(tokens.lt(s.vocab_size));
  };
  if (length < 2 || !in_vocabulary(ids).all().item<bool>())
    file.refuse("/gradients/tokens", fmt::format("expected rows of 2 or more tokens below {}", s.vocab_size));
  slopes.labels = file.read("/gradients/labels", at::kLong, {batch, length});
  const auto ignored = slopes.labels.eq(kIgnoredLabel);
  if (!in_vocabulary(slopes.labels).logical_or(ignored).all().item<bool>() ||
      ignored.narrow(1, 1, length - 1).all().item<bool>())
    file.refuse("/gradients/labels",
                fmt::format("expected tokens below {}, or {} for ignored ones", s.vocab_size, kIgnoredLabel));
  const auto read_finite = [&](const std::string& name, std::int64_t size) {
    auto values = file.read(name, at::kDouble, {size});
    if (!values.isfinite().all().item<bool>()) file.refuse(name, "is not finite, expected numbers");
    return values;
  };
  slopes.loss = read_finite("/gradients/loss", 1)[0];
  const auto parameters = s.parameters();
  for (const auto& parameter : parameters) {
    const auto size = slopes.by_parameter.empty() ? kAny : slopes.directions;  // the same for each parameter
    const auto derivatives = read_finite("/gradients/slopes/" + parameter.name, size);
    slopes.by_parameter.emplace(parameter.name, derivatives);
    slopes.directions = derivatives.size(0);
  }
  if (file.children("/gradients/slopes").size() != parameters.size())
    file.refuse("/gradients/slopes", "holds a parameter that this model does not have");
  return slopes;
}

Golden::Float32Error Golden::float32_error(const std::string& name) const {
  const auto found = state_->errors.find(name);
  const auto measured = [&](const char* key) {
    return found->contains(key) && (*found)[key].is_number() && (*found)[key].get<double>() >= 0;
  };
  if (found == nullptr || !found->is_object() || !measured("error") || !measured("largest"))
    throw InputError(
        fmt::format("{}: the manifest records no float32 error for '{}'; run `./plumbline golden record`",
                    state_->file.path().string(), name));
  return {(*found)["error"].get<double>(), (*found)["largest"].get<double>()};
}

Tolerance Golden::tolerance(const std::string& name) const {
  // One float32 run is one sample of the error, and may be small by chance: a rounding of the largest value
  // is added. golden/README.md has the margins on both sides.
  constexpr double kFactor = 100;
  const auto [error, largest] = float32_error(name);
  if (error == 0) return Tolerance::exact("exact: a float32 run does not round here");
  return Tolerance::absolute(
      kFactor * (error + 0x1p-24 * largest),
      fmt::format("{} x the float32 rounding error measured there, {}", kFactor, number(error)));
}

}  // namespace plumbline
