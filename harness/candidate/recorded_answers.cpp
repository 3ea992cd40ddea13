#include "harness/candidate/recorded_answers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/candidate/recording_format.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr std::uint64_t kMostExchanges = 256 << 20;  // bytes of their text
constexpr std::uint64_t kLargestTensor = 4ull << 30;

[[noreturn]] void refuse_recording(const std::string& complaint) {
  throw InputError(fmt::format("{}; record it again", complaint));
}

// What HDF5 would fetch from other files is not this recording.
Hdf5Handle open_dataset(const Hdf5Handle& file, const std::string& name) {
  H5L_info_t link{};
  if (H5Lget_info(file.get(), name.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
    refuse_recording(fmt::format("lacks {}", name));
  const hid_t set = H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT);
  if (set < 0) refuse_recording(fmt::format("holds {}, which is not a dataset", name));
  const Hdf5Handle creation(H5Dget_create_plist(set), H5Pclose);
  if (H5Pget_external_count(creation.get()) != 0 || H5Pget_layout(creation.get()) == H5D_VIRTUAL) {
    H5Dclose(set);
    refuse_recording(fmt::format("keeps {} in another file", name));
  }
  return {set, H5Dclose};
}

std::vector<hsize_t> shape_of_dataset(const Hdf5Handle& set, const std::string& name) {
  const Hdf5Handle space(H5Dget_space(set.get()), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0 || rank > 8) refuse_recording(fmt::format("holds {} of rank {}", name, rank));
  std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
  if (rank > 0) H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
  return sizes;
}

std::string read_attribute(const Hdf5Handle& object, const char* name) {
  const Hdf5Handle found(H5Aopen(object.get(), name, H5P_DEFAULT), H5Aclose);
  if (!found.valid()) refuse_recording(fmt::format("has no '{}'", name));
  const Hdf5Handle type(H5Aget_type(found.get()), H5Tclose), space(H5Aget_space(found.get()), H5Sclose);
  const auto size = H5Tget_size(type.get());
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0 || size == 0 ||
      size > 4096 || H5Sget_simple_extent_npoints(space.get()) != 1)
    refuse_recording(fmt::format("has a '{}' that is not a short text", name));
  std::string text(size, '\0');
  if (H5Aread(found.get(), type.get(), text.data()) < 0)
    refuse_recording(fmt::format("has a '{}' that cannot be read", name));
  return text.substr(0, text.find('\0'));
}

}  // namespace

RecordedAnswers::RecordedAnswers(const std::filesystem::path& path)
    : file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose) {
  if (!file_.valid()) refuse_recording("is not a readable HDF5 file; it may be incomplete: copy it again");
  if (read_attribute(file_, "format") != "plumbline-recording")
    refuse_recording("is not a Plumbline recording");
  if (const auto version = read_attribute(file_, "version"); version != std::to_string(kRecordingVersion))
    refuse_recording(fmt::format("is a recording of version {}, but this program reads version {}",
                                 printable(version, 20), kRecordingVersion));
  const auto text = read_exchanges();
  if (sha256(text) != read_attribute(file_, "sha256")) refuse_recording("was changed after it was recorded");
  const auto all = parse_json(text, "its exchanges");
  for (const auto& exchange : all) {
    if (!exchange.is_object() || !exchange.value("key", Json()).is_string() ||
        !exchange.value("reply", Json()).is_object())
      refuse_recording("holds an entry that is not an exchange");
    if (exchange.value("request", "") == "hello") hello_request_ = exchange.value("asked", Json());
    answers_[exchange["key"].text()].push_back(exchange);
  }
  if (!hello_request_.is_object()) refuse_recording("holds no first exchange");
}

std::string RecordedAnswers::read_exchanges() const {
  const auto set = open_dataset(file_, "exchanges");
  const auto sizes = shape_of_dataset(set, "exchanges");
  const Hdf5Handle stored(H5Dget_type(set.get()), H5Tclose);
  if (sizes.size() != 1 || sizes[0] == 0 || sizes[0] > kMostExchanges ||
      H5Tequal(stored.get(), H5T_STD_U8LE) <= 0)
    refuse_recording("holds no exchanges");
  std::string text(sizes[0], '\0');
  if (H5Dread(set.get(), H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0)
    refuse_recording("holds exchanges that cannot be read");
  return text;
}

const Json* RecordedAnswers::answer(const std::string& key) {
  const auto found = answers_.find(key);
  if (found == answers_.end()) return nullptr;
  auto& next = times_asked_[key];
  const auto& all = found->second;
  return &all[std::min(next++, all.size() - 1)];
}

at::Tensor RecordedAnswers::tensor(const std::string& hash) const {
  if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
    refuse_recording("names a tensor by something that is not a SHA-256");
  const auto name = "tensors/" + hash;
  const auto set = open_dataset(file_, name);
  const auto* type = stored_type_named(read_attribute(set, "dtype"));
  const Hdf5Handle stored(H5Dget_type(set.get()), H5Tclose);
  if (type == nullptr || H5Tequal(stored.get(), type->in_hdf5()) <= 0)
    refuse_recording(fmt::format("{} does not have its stated type", name));
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = H5Tget_size(stored.get());
  for (const auto size : shape_of_dataset(set, name)) {
    if (size == 0 || size > kLargestTensor / bytes)
      refuse_recording(fmt::format("{} has an impossible size", name));
    bytes *= size;
    shape.push_back(static_cast<std::int64_t>(size));
  }
  auto values = at::empty(shape, type->type);
  if (H5Dread(set.get(), type->in_hdf5(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data_ptr()) < 0)
    refuse_recording(fmt::format("{} cannot be read", name));
  if (hash_of_tensor(values) != hash)
    refuse_recording(fmt::format("{} was changed after it was recorded", name));
  return values;
}

}  // namespace plumbline
