#include "harness/evidence/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <set>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian, and so are we");

constexpr std::uint64_t most_header_bytes = 100'000'000;  // the format's own limit
constexpr std::size_t most_name_bytes = 1024;
constexpr std::size_t most_axes = 64;  // LibTorch's
constexpr std::string_view lfs_pointer = "version https://git-lfs";

struct Type {
  const char* name;
  at::ScalarType type;
  std::int64_t bytes;
};

constexpr std::array types{Type{"F64", at::kDouble, 8}, Type{"F32", at::kFloat, 4},
                           Type{"F16", at::kHalf, 2},   Type{"BF16", at::kBFloat16, 2},
                           Type{"I64", at::kLong, 8},   Type{"I32", at::kInt, 4},
                           Type{"I16", at::kShort, 2},  Type{"I8", at::kChar, 1},
                           Type{"U8", at::kByte, 1},    Type{"BOOL", at::kBool, 1}};
// Rotation tables are stored in it beside weights; no parameter has it.
constexpr Type complex_type{"C64", at::kComplexFloat, 8};
constexpr const char* types_read = "F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL";

// A tensor's entry in the header; offsets are in bytes from the end of the header.
struct Entry {
  std::string name;
  Type type{};
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

// The beginning of messages about a tensor.
std::string describe_place(const std::string& file, const std::string& tensor) {
  return fmt::format("{}: tensor \"{}\"", file, printable(tensor, 120));
}

const Json& member(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == nullptr) throw InputError(fmt::format("{} has no \"{}\"", where, key));
  return *found;
}

Type type_of(const Json& dtype, const std::string& where, bool with_complex) {
  if (!dtype.is_string()) throw InputError(where + ": dtype is not a string");
  const auto& name = dtype.text();
  if (with_complex && name == complex_type.name) return complex_type;
  const auto found =
      std::find_if(types.begin(), types.end(), [&](const Type& type) { return type.name == name; });
  if (found == types.end()) {
    const std::string what = name.starts_with("F8_")                            ? "fp8, 8-bit floating point"
                             : name.starts_with("F4") || name.starts_with("F6") ? "4 or 6 bits"
                             : name == "U32" ? "several weights in each integer"
                                             : "";
    if (!what.empty()) {
      throw InputError(fmt::format(
          "{} has dtype \"{}\": the model is quantised ({}); expected float32, float16 or bfloat16 "
          "weights; pass the original model",
          where, printable(name, 40), what));
    }
    throw InputError(
        fmt::format("{} has dtype \"{}\"; only {} are read", where, printable(name, 40), types_read));
  }
  return *found;
}

std::vector<std::int64_t> shape_of(const Json& shape, const std::string& where) {
  if (!shape.is_array()) throw InputError(where + ": shape is not an array");
  if (shape.size() > most_axes) {
    throw InputError(fmt::format("{}: shape has {} axes, more than {}", where, shape.size(), most_axes));
  }
  std::vector<std::int64_t> result;
  for (const Json& axis : shape) {
    if (!axis.is_unsigned() || axis.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
      throw InputError(fmt::format("{}: shape[{}] is {}, expected an integer from 0 to 2^63-1", where,
                                   result.size(), printable(axis.dump(), 40)));
    }
    result.push_back(axis.get<std::int64_t>());
  }
  return result;
}

// Bytes of a tensor of this shape. The check for overflow ignores zeros, since strides are products of the
// other axes.
std::uint64_t bytes_of(const Entry& entry, const std::string& where) {
  std::int64_t product = entry.type.bytes;
  bool empty = false;
  for (const std::int64_t axis : entry.shape) {
    empty = empty || axis == 0;
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(axis, 1), &product)) {
      throw InputError(
          fmt::format("{}: shape [{}] overflows 63 bits of bytes", where, fmt::join(entry.shape, ", ")));
    }
  }
  return empty ? 0 : static_cast<std::uint64_t>(product);
}

void read_offsets(const Json& offsets, std::uint64_t data_bytes, const std::string& where, Entry& entry) {
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_unsigned() || !offsets[1].is_unsigned()) {
    throw InputError(where + ": data_offsets is not a pair of non-negative integers");
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes) {
    throw InputError(
        fmt::format("{}: data_offsets [{}, {}] are not a range within the file's {} bytes of data", where,
                    entry.begin, entry.end, data_bytes));
  }
}

Entry read_entry(const std::string& name, const Json& description, std::uint64_t data_bytes,
                 const std::string& file, bool with_complex) {
  const std::string where = describe_place(file, name);
  if (name.empty() || printable(name, most_name_bytes) != name) {
    throw InputError(where + ": a name must be 1 to 1024 bytes of text without control characters");
  }
  if (!description.is_object()) throw InputError(where + " is not described by an object");
  Entry entry;
  entry.name = name;
  entry.type = type_of(member(description, "dtype", where), where, with_complex);
  entry.shape = shape_of(member(description, "shape", where), where);
  read_offsets(member(description, "data_offsets", where), data_bytes, where, entry);
  for (const auto& [key, value] : description.items()) {
    if (key == "dtype" || key == "shape" || key == "data_offsets") continue;
    throw InputError(fmt::format("{} has the key \"{}\"; only dtype, shape and data_offsets are allowed",
                                 where, printable(key, 40)));
  }
  const std::uint64_t expected = bytes_of(entry, where);
  if (entry.end - entry.begin != expected) {
    throw InputError(fmt::format("{}: data_offsets [{}, {}] span {} bytes, but {} of shape [{}] takes {}",
                                 where, entry.begin, entry.end, entry.end - entry.begin, entry.type.name,
                                 fmt::join(entry.shape, ", "), expected));
  }
  return entry;
}

std::map<std::string, std::string> read_metadata(const Json& description, const std::string& file) {
  std::map<std::string, std::string> result;
  if (!description.is_object()) throw InputError(file + ": __metadata__ is not an object");
  for (const auto& [key, value] : description.items()) {
    if (!value.is_string()) {
      throw InputError(fmt::format("{}: __metadata__ \"{}\" is not a string", file, printable(key, 80)));
    }
    result[key] = value.get<std::string>();
  }
  return result;
}

void require_tiling(const std::vector<Entry>& entries, std::uint64_t data_bytes, const std::string& file) {
  std::uint64_t covered = 0;
  const Entry* last = nullptr;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      const std::string before =
          last ? fmt::format("\"{}\" ends", printable(last->name, 120)) : "the data begin";
      throw InputError(fmt::format("{} begins at byte {} of the data, but {} at {}: {}",
                                   describe_place(file, entry.name), entry.begin, before, covered,
                                   entry.begin < covered ? "an overlap" : "a hole"));
    }
    covered = entry.end;
    last = &entry;
  }
  if (covered != data_bytes) {
    throw InputError(
        fmt::format("{}: {} bytes are left over after the last tensor's data", file, data_bytes - covered));
  }
}

std::vector<Entry> read_entries(const Json& header, std::uint64_t data_bytes, const std::string& file,
                                bool with_complex) {
  std::vector<Entry> entries;
  for (const auto& [name, description] : header.items()) {
    if (name != "__metadata__")
      entries.push_back(read_entry(name, description, data_bytes, file, with_complex));
  }
  // Empty tensors come before one with the same beginning.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& left, const Entry& right) {
    return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
  });
  require_tiling(entries, data_bytes, file);
  return entries;
}

std::uint64_t header_length(const char* first_eight, std::uint64_t file_bytes, const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, first_eight, sizeof length);
  if (lfs_pointer.starts_with(std::string_view(first_eight, 8))) {
    throw InputError(file + ": is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
  }
  if (length > file_bytes - 8 || length > most_header_bytes) {
    throw InputError(
        fmt::format("{}: the header's length {} exceeds {}; the file is truncated, or not a safetensors file",
                    file, length,
                    length > file_bytes - 8 ? fmt::format("the {} bytes after it", file_bytes - 8)
                                            : fmt::format("the format's {}", most_header_bytes)));
  }
  return length;
}

// Allocates memory for the data, aligned for every type. Huge pages save a third of the time of reading.
std::shared_ptr<char> allocate(std::uint64_t bytes, const std::string& file) {
  constexpr std::uint64_t huge_page = 1u << 21;
  const std::uint64_t alignment = bytes < 2 * huge_page ? 64 : huge_page;
  // One byte more, so that an empty file has a buffer, too.
  const std::uint64_t rounded = (bytes + alignment) / alignment * alignment;
  std::shared_ptr<char> data(static_cast<char*>(std::aligned_alloc(alignment, rounded)), std::free);
  if (!data)
    throw InputError(fmt::format("{}: needs {} bytes of memory, which are not available", file, bytes));
#ifdef MADV_HUGEPAGE
  if (alignment == huge_page) ::madvise(data.get(), rounded, MADV_HUGEPAGE);
#endif
  return data;
}

// Reads and hashes chunk by chunk, while a chunk is still in the processor's cache.
std::shared_ptr<char> read_data(InputFile& input, std::uint64_t bytes, Sha256& sum, const std::string& file) {
  const std::shared_ptr<char> data = allocate(bytes, file);
  constexpr std::uint64_t chunk = 1u << 20;
  for (std::uint64_t done = 0; done < bytes; done += chunk) {
    const std::uint64_t count = std::min(chunk, bytes - done);
    input.read_exactly(data.get() + done, count);
    sum.update({data.get() + done, count});
  }
  return data;
}

at::Tensor tensor_of(const Entry& entry, const std::shared_ptr<char>& data, const std::string& file) {
  char* const begin = data.get() + entry.begin;
  const auto options = at::TensorOptions().dtype(entry.type.type).device(at::kCPU);
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  if (entry.type.type == at::kBool &&
      std::any_of(begin, data.get() + entry.end, [](char b) { return (b & ~1) != 0; })) {
    throw InputError(describe_place(file, entry.name) + ": a BOOL is not 0 or 1");
  }
  if (entry.begin % static_cast<std::uint64_t>(entry.type.bytes) == 0) {
    return at::from_blob(
        begin, entry.shape, [data](void*) {}, options);
  }
  at::Tensor copy = at::empty(entry.shape, options);
  std::memcpy(copy.data_ptr(), begin, entry.end - entry.begin);
  return copy;
}

// The header's entries with their tensors, in the order of decreasing element size, so that each tensor is
// aligned to its elements.
std::vector<std::pair<Entry, at::Tensor>> lay_out(
    const std::vector<std::pair<std::string, at::Tensor>>& tensors, const std::string& file) {
  std::vector<std::pair<Entry, at::Tensor>> result;
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    const std::string where = describe_place(file, name);
    if (name.empty() || name == "__metadata__" || printable(name, most_name_bytes) != name) {
      throw InputError(where + ": this cannot be a tensor's name");
    }
    if (!names.insert(name).second) throw InputError(where + " is listed twice");
    const auto type = std::find_if(types.begin(), types.end(), [&, &values = tensor](const Type& known) {
      return values.defined() && known.type == values.scalar_type();
    });
    if (type == types.end() || tensor.layout() != at::kStrided || tensor.is_quantized()) {
      throw InputError(fmt::format("{} cannot be written: only dense tensors of {} can", where, types_read));
    }
    result.push_back({Entry{name, *type, tensor.sizes().vec(), 0, 0}, tensor});
  }
  std::stable_sort(result.begin(), result.end(), [](const auto& left, const auto& right) {
    return left.first.type.bytes > right.first.type.bytes;
  });
  std::uint64_t end = 0;
  for (auto& [entry, tensor] : result) {
    entry.begin = end;
    end += static_cast<std::uint64_t>(tensor.numel() * entry.type.bytes);
    entry.end = end;
  }
  return result;
}

}  // namespace

std::uint64_t most_tensor_bytes() {
  const auto pages = static_cast<std::uint64_t>(std::max(0l, ::sysconf(_SC_PHYS_PAGES)));
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 4 * 3;
}

SafetensorsFile read_safetensors(const std::filesystem::path& path, const SafetensorsOptions& options) {
  const std::uint64_t limit_bytes = options.limit_bytes;
  const std::string file = options.shown.empty() ? printable(path.string(), 1000) : options.shown;
  InputFile input(path);
  if (input.size() < 8) {
    throw InputError(fmt::format("{}: has {} bytes; a safetensors file has at least 8", file, input.size()));
  }
  if (input.size() > limit_bytes) {
    throw InputError(
        fmt::format("{}: has {} bytes, more than the {} that are read", file, input.size(), limit_bytes));
  }
  Sha256 sum;
  std::string header(8, '\0');
  input.read_exactly(header.data(), 8);
  sum.update(header);
  header.resize(header_length(header.data(), input.size(), file));
  input.read_exactly(header.data(), header.size());
  sum.update(header);
  if (!header.starts_with('{')) throw InputError(file + ": the header does not begin with '{'");
  const std::uint64_t data_bytes = input.size() - 8 - header.size();
  const Json description = parse_json(header, file + ": header");
  if (!description.is_object()) throw InputError(file + ": the header is not an object");

  SafetensorsFile result;
  if (description.contains("__metadata__"))
    result.metadata = read_metadata(description["__metadata__"], file);
  const std::vector<Entry> entries = read_entries(description, data_bytes, file, options.with_complex);
  const std::shared_ptr<char> data = read_data(input, data_bytes, sum, file);
  char more = 0;
  if (input.read_some(&more, 1) != 0) throw InputError(file + ": grew while it was read; try again");
  for (const Entry& entry : entries) result.tensors.emplace_back(entry.name, tensor_of(entry, data, file));
  result.sha256 = sum.hex();
  return result;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       AtomicFile::Durability durability) {
  const std::string file = printable(path.string(), 1000);
  const auto laid_out = lay_out(tensors, file);
  Json description = Json::object();
  if (!metadata.empty()) description["__metadata__"] = metadata;
  for (const auto& [entry, tensor] : laid_out) {
    description[entry.name] = {
        {"dtype", entry.type.name}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  // Invalid UTF-8 in metadata is replaced; names were checked.
  std::string header = description.dump({.replace = true});
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = header.size();
  if (length > most_header_bytes) {
    throw InputError(fmt::format("{}: its header would have {} bytes, the format allows {}", file, length,
                                 most_header_bytes));
  }
  AtomicFile output(path, durability);
  output.write({reinterpret_cast<const char*>(&length), sizeof length});
  output.write(header);
  for (const auto& [entry, tensor] : laid_out) {
    const at::Tensor values = tensor.detach().to(at::kCPU).resolve_neg().contiguous();
    if (entry.begin == entry.end) continue;
    output.write({static_cast<const char*>(values.const_data_ptr()), entry.end - entry.begin});
  }
  output.commit();
}

}  // namespace plumbline
