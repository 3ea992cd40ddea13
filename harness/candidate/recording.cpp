#include "harness/candidate/recording.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "harness/candidate/recording_format.hpp"
#include "harness/evidence/hdf5_handle.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr hsize_t kChunk = 1 << 16;  // elements

}  // namespace

std::string DialogueState::key(const Json& request, const NamedTensors& tensors) const {
  auto content = request;
  const auto cache = content.value("cache", std::int64_t{-1});
  // Answers depend neither on device and threads nor on generated names.
  for (const auto* key : {"id", "tensors", "directory", "device", "threads", "cache"}) content.erase(key);
  std::string all = content.dump() + "\n";
  std::map<std::string, std::string> hashes;
  for (const auto& [name, tensor] : tensors) hashes[name] = hash_of_tensor(tensor);
  for (const auto& [name, hash] : hashes) all += fmt::format("{} {}\n", name, hash);
  static const std::set<std::string> stateless{"hello", "load", "initialise", "operation"};
  if (!stateless.contains(request_name(request))) all += "weights " + weights_ + "\n";
  if (const auto found = caches_.find(cache); found != caches_.end()) all += "cache " + found->second + "\n";
  return sha256(all);
}

void DialogueState::record_answer(const Json& request, const std::string& key, const Json& reply) {
  const auto name = request_name(request);
  if (name == "hello") *this = {};
  if (name == "load" || name == "initialise" || name == "train") weights_ = key;
  if (name == "open_cache" && reply.contains("cache") && reply["cache"].is_int64())
    caches_[reply["cache"].get<std::int64_t>()] = key;
  if (name == "extend" || name == "fill_cache") caches_[request.value("cache", std::int64_t{-1})] = key;
  if (name == "close_cache") caches_.erase(request.value("cache", std::int64_t{-1}));
}

struct RecordingWriter::State {
  fs::path path, partial;
  std::optional<Hdf5Handle> file;
  std::optional<OnInterruption> on_interruption;
  DialogueState dialogue;
  Json exchanges = Json::array();
  std::map<std::string, Json> last;  // answer by key
  std::set<std::string> stored;      // tensors, by hash
  std::uint64_t bytes = 0;

  [[noreturn]] void fail(const std::string& why) const {
    throw InputError(fmt::format("{}: cannot be written: {}", printable(path.string()), why));
  }

  void write_dataset(const std::string& name, hid_t type, const std::vector<hsize_t>& shape, const void* data,
                     const char* dtype) {
    const Hdf5Handle space(shape.empty()
                               ? H5Screate(H5S_SCALAR)
                               : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                           H5Sclose);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_obj_track_times(creation.get(), false);  // the same bytes for the same content
    hsize_t elements = 1;
    for (const auto size : shape) elements *= size;
    if (elements >= 1024) {
      auto chunk = shape;
      hsize_t product = elements;
      for (auto& size : chunk) {
        const auto rest = product / size;
        if (product > kChunk) size = std::max<hsize_t>(1, kChunk / rest);
        product = size * rest;
      }
      H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data());
      H5Pset_shuffle(creation.get());
      H5Pset_deflate(creation.get(), 1);
    }
    const Hdf5Handle made(
        H5Dcreate2(file->get(), name.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
        H5Dclose);
    if (!made.valid() || H5Dwrite(made.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
      fail(fmt::format("HDF5 could not store {}", name));
    if (dtype != nullptr) write_attribute(made.get(), "dtype", dtype);
  }

  void write_attribute(hid_t object, const char* name, const std::string& text) const {
    const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
    H5Tset_size(type.get(), text.size());
    const Hdf5Handle made(H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                          H5Aclose);
    if (!made.valid() || H5Awrite(made.get(), type.get(), text.data()) < 0)
      fail(fmt::format("HDF5 could not store '{}'", name));
  }

  std::string store_tensor(const at::Tensor& given) {
    const auto tensor = given.to(at::kCPU).contiguous();
    const auto hash = hash_of_tensor(tensor);
    if (!stored.insert(hash).second) return hash;
    const auto* type = stored_type_of(tensor.scalar_type());
    if (type == nullptr) fail(fmt::format("a tensor of type {}", at::toString(tensor.scalar_type())));
    const std::vector<hsize_t> shape(tensor.sizes().begin(), tensor.sizes().end());
    write_dataset("tensors/" + hash, type->in_hdf5(), shape, tensor.data_ptr(), type->name);
    bytes += tensor.nbytes();
    return hash;
  }
};

RecordingWriter::RecordingWriter(const fs::path& path) : state_(std::make_unique<State>()) {
  auto& s = *state_;
  s.path = path;
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // our errors are one line
  std::error_code ignored;
  const auto parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(parent, ignored)) s.fail(fmt::format("there is no directory {}", parent.string()));
  const auto status = fs::status(path, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status)) s.fail("something other than a file is there");
  const Uninterrupted whole;
  s.partial = parent / fmt::format(".plumbline-{}.recording.partial", ::getpid());
  s.file.emplace(H5Fcreate(s.partial.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  if (!s.file->valid()) {
    s.partial.clear();
    s.fail(fmt::format("no file can be created in {}", parent.string()));
  }
  s.on_interruption.emplace([partial = s.partial] { ::unlink(partial.c_str()); });
  const Hdf5Handle tensors(H5Gcreate2(s.file->get(), "tensors", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Gclose);
  if (!tensors.valid()) s.fail("HDF5 could not create a group");
}

RecordingWriter::~RecordingWriter() {
  state_->file.reset();
  if (!state_->partial.empty()) ::unlink(state_->partial.c_str());
}

void RecordingWriter::add(const Json& request, const NamedTensors& tensors, const Json& reply,
                          const Weights& answer) {
  auto& s = *state_;
  const auto key = s.dialogue.key(request, tensors);
  if (!reply.contains("error")) s.dialogue.record_answer(request, key, reply);
  Json content = reply;
  for (const auto* key_to_drop : {"id", "tensors", "seconds"}) content.erase(key_to_drop);
  Json exchange = {{"key", key}, {"request", request_name(request)}, {"reply", content}};
  if (request_name(request) == "hello")
    exchange["asked"] = {{"specification", request.at("specification")},
                         {"dtype", request.at("dtype")},
                         {"seed", request.at("seed")}};
  for (const auto& [name, tensor] : answer) exchange["tensors"][name] = s.store_tensor(tensor);
  auto& previous = s.last[key];
  if (previous == exchange) return;
  previous = exchange;
  s.exchanges.push_back(std::move(exchange));
}

std::string RecordingWriter::commit() {
  auto& s = *state_;
  const auto text = s.exchanges.dump({.ascii = true});
  s.write_dataset("exchanges", H5T_STD_U8LE, {text.size()}, text.data(), nullptr);
  s.write_attribute(s.file->get(), "format", "plumbline-recording");
  s.write_attribute(s.file->get(), "version", std::to_string(kRecordingVersion));
  s.write_attribute(s.file->get(), "sha256", sha256(text));
  if (H5Fflush(s.file->get(), H5F_SCOPE_LOCAL) < 0) s.fail("HDF5 could not write the file");
  if (!s.file->close()) s.fail("HDF5 could not close the file");
  const int descriptor = ::open(s.partial.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  if (descriptor >= 0) ::close(descriptor);
  std::error_code why;
  if (synced) fs::rename(s.partial, s.path, why);
  if (!synced || why) s.fail(synced ? why.message() : "it could not be written to disk");
  s.on_interruption.reset();
  s.partial.clear();
  return fmt::format("{} answers and {} tensors of {:.1f} MB recorded in {}", s.exchanges.size(),
                     s.stored.size(), static_cast<double>(s.bytes) / 1e6, printable(s.path.string()));
}

}  // namespace plumbline
