#include "harness/candidate/recording.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <set>

#include "harness/evidence/hdf5_handle.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kVersion = 1;
constexpr std::uint64_t kMostExchanges = 256 << 20;  // bytes of their text
constexpr std::uint64_t kLargestTensor = 4ull << 30;
constexpr hsize_t kChunk = 1 << 16;  // elements

// How a type is stored. HDF5 has no 16-bit floating types of its own: their bits are kept, and `dtype` says
// what they are.
struct Kind {
  at::ScalarType type;
  const char* name;
  hid_t (*stored)();
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {{at::kFloat, "float32", [] { return H5T_IEEE_F32LE; }},
                                        {at::kDouble, "float64", [] { return H5T_IEEE_F64LE; }},
                                        {at::kBFloat16, "bfloat16", [] { return H5T_STD_U16LE; }},
                                        {at::kHalf, "float16", [] { return H5T_STD_U16LE; }},
                                        {at::kLong, "int64", [] { return H5T_STD_I64LE; }},
                                        {at::kInt, "int32", [] { return H5T_STD_I32LE; }},
                                        {at::kBool, "bool", [] { return H5T_STD_U8LE; }}};
  return all;
}

const Kind* kind_of(at::ScalarType type) {
  for (const auto& kind : kinds())
    if (kind.type == type) return &kind;
  return nullptr;
}

std::string hash_of(const at::Tensor& given) {
  const auto tensor = given.to(at::kCPU).contiguous();
  Sha256 sum;
  sum.update(fmt::format("{} [{}]\n", at::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", ")));
  sum.update({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
  return sum.hex();
}

std::string request_of(const Json& request) {
  return request.value("request", "");
}

}  // namespace

std::string Dependence::key(const Json& request, const NamedTensors& tensors) const {
  auto said = request;
  const auto cache = said.value("cache", std::int64_t{-1});
  // Where and how fast it runs changes nothing of what it says; neither do names that were made up on the
  // way.
  for (const auto* key : {"id", "tensors", "directory", "device", "threads", "cache"}) said.erase(key);
  std::string all = said.dump() + "\n";
  std::map<std::string, std::string> hashes;
  for (const auto& [name, tensor] : tensors) hashes[name] = hash_of(tensor);
  for (const auto& [name, hash] : hashes) all += fmt::format("{} {}\n", name, hash);
  static const std::set<std::string> afresh{"hello", "load", "initialise", "operation"};
  if (!afresh.contains(request_of(request))) all += "weights " + weights_ + "\n";
  if (const auto found = caches_.find(cache); found != caches_.end()) all += "cache " + found->second + "\n";
  return sha256(all);
}

void Dependence::answered(const Json& request, const std::string& key, const Json& reply) {
  const auto name = request_of(request);
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
  Dependence dependence;
  Json exchanges = Json::array();
  std::map<std::string, Json> last;  // answer by key
  std::set<std::string> stored;      // tensors, by hash
  std::uint64_t bytes = 0;

  [[noreturn]] void fail(const std::string& why) const {
    throw InputError(fmt::format("{}: cannot be written: {}", printable(path.string()), why));
  }

  void dataset(const std::string& name, hid_t type, const std::vector<hsize_t>& shape, const void* data,
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
    if (dtype != nullptr) attribute(made.get(), "dtype", dtype);
  }

  void attribute(hid_t object, const char* name, const std::string& text) const {
    const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
    H5Tset_size(type.get(), text.size());
    const Hdf5Handle made(H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                          H5Aclose);
    if (!made.valid() || H5Awrite(made.get(), type.get(), text.data()) < 0)
      fail(fmt::format("HDF5 could not store '{}'", name));
  }

  std::string store(const at::Tensor& given) {
    const auto tensor = given.to(at::kCPU).contiguous();
    const auto hash = hash_of(tensor);
    if (!stored.insert(hash).second) return hash;
    const auto* kind = kind_of(tensor.scalar_type());
    if (kind == nullptr) fail(fmt::format("a tensor of type {}", at::toString(tensor.scalar_type())));
    const std::vector<hsize_t> shape(tensor.sizes().begin(), tensor.sizes().end());
    dataset("tensors/" + hash, kind->stored(), shape, tensor.data_ptr(), kind->name);
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
  if (fs::exists(status) && !fs::is_regular_file(status)) s.fail("there is something else than a file there");
  const Uninterrupted whole;
  s.partial = parent / fmt::format(".plumbline-{}.recording.partial", ::getpid());
  s.file.emplace(H5Fcreate(s.partial.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  if (!s.file->valid()) {
    s.partial.clear();
    s.fail(fmt::format("no file can be made in {}", parent.string()));
  }
  s.on_interruption.emplace([partial = s.partial] { ::unlink(partial.c_str()); });
  const Hdf5Handle tensors(H5Gcreate2(s.file->get(), "tensors", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Gclose);
  if (!tensors.valid()) s.fail("HDF5 could not make a group");
}

RecordingWriter::~RecordingWriter() {
  state_->file.reset();
  if (!state_->partial.empty()) ::unlink(state_->partial.c_str());
}

void RecordingWriter::add(const Json& request, const NamedTensors& tensors, const Json& reply,
                          const Weights& answer) {
  auto& s = *state_;
  const auto key = s.dependence.key(request, tensors);
  if (!reply.contains("error")) s.dependence.answered(request, key, reply);
  Json said = reply;
  for (const auto* own : {"id", "tensors", "seconds"}) said.erase(own);
  Json exchange = {{"key", key}, {"request", request_of(request)}, {"reply", said}};
  if (request_of(request) == "hello")
    exchange["asked"] = {{"specification", request.at("specification")}, {"dtype", request.at("dtype")}};
  for (const auto& [name, tensor] : answer) exchange["tensors"][name] = s.store(tensor);
  auto& before = s.last[key];
  if (before == exchange) return;
  before = exchange;
  s.exchanges.push_back(std::move(exchange));
}

std::string RecordingWriter::commit() {
  auto& s = *state_;
  const auto text = s.exchanges.dump({.ascii = true});
  s.dataset("exchanges", H5T_STD_U8LE, {text.size()}, text.data(), nullptr);
  s.attribute(s.file->get(), "format", "plumbline-recording");
  s.attribute(s.file->get(), "version", std::to_string(kVersion));
  s.attribute(s.file->get(), "sha256", sha256(text));
  if (H5Fflush(s.file->get(), H5F_SCOPE_LOCAL) < 0) s.fail("HDF5 could not write it out");
  if (!s.file->close()) s.fail("HDF5 could not close it");
  const int descriptor = ::open(s.partial.c_str(), O_RDONLY | O_CLOEXEC);
  const bool kept = descriptor >= 0 && ::fsync(descriptor) == 0;
  if (descriptor >= 0) ::close(descriptor);
  std::error_code why;
  if (kept) fs::rename(s.partial, s.path, why);
  if (!kept || why) s.fail(kept ? why.message() : "it could not be brought to the disk");
  s.on_interruption.reset();
  s.partial.clear();
  return fmt::format("{} answers and {} tensors of {:.1f} MB recorded in {}", s.exchanges.size(),
                     s.stored.size(), static_cast<double>(s.bytes) / 1e6, printable(s.path.string()));
}

namespace {

class Recording {
 public:
  explicit Recording(const fs::path& path)
      : file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose) {
    if (!file_.valid()) refuse("is no readable HDF5 file; if it was copied, it may not be whole");
    if (attribute(file_.get(), "format") != "plumbline-recording") refuse("is no recording of Plumbline's");
    if (const auto version = attribute(file_.get(), "version"); version != std::to_string(kVersion))
      refuse(fmt::format("is a recording of version {}, this program reads version {}",
                         printable(version, 20), kVersion));
    const auto text = exchanges();
    if (sha256(text) != attribute(file_.get(), "sha256")) refuse("was changed after it was recorded");
    const auto all = parse_json(text, "its exchanges");
    for (const auto& exchange : all) {
      if (!exchange.is_object() || !exchange.value("key", Json()).is_string() ||
          !exchange.value("reply", Json()).is_object())
        refuse("holds an exchange that is none");
      if (exchange.value("request", "") == "hello") hello_ = exchange.value("asked", Json());
      answers_[exchange["key"].text()].push_back(exchange);
    }
    if (!hello_.is_object()) refuse("holds no beginning");
  }

  const Json& asked() const { return hello_; }

  // The answer to what has this key, the n-th to the n-th question; nullptr where it was never asked.
  const Json* answer(const std::string& key) {
    const auto found = answers_.find(key);
    if (found == answers_.end()) return nullptr;
    auto& next = asked_[key];
    const auto& all = found->second;
    return &all[std::min(next++, all.size() - 1)];
  }

  at::Tensor tensor(const std::string& hash) const {
    if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
      refuse("names a tensor by what is no SHA-256");
    const auto name = "tensors/" + hash;
    const Hdf5Handle set = open(name);
    const auto dtype = attribute(set.get(), "dtype");
    const Kind* kind = nullptr;
    for (const auto& known : kinds())
      if (dtype == known.name) kind = &known;
    const Hdf5Handle stored(H5Dget_type(set.get()), H5Tclose);
    if (kind == nullptr || H5Tequal(stored.get(), kind->stored()) <= 0)
      refuse(fmt::format("{} has another type than it says", name));
    std::vector<std::int64_t> shape;
    std::uint64_t bytes = H5Tget_size(stored.get());
    for (const auto size : extent(set.get(), name)) {
      if (size == 0 || size > kLargestTensor / bytes) refuse(fmt::format("{} has an impossible size", name));
      bytes *= size;
      shape.push_back(static_cast<std::int64_t>(size));
    }
    auto values = at::empty(shape, kind->type);
    if (H5Dread(set.get(), kind->stored(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data_ptr()) < 0)
      refuse(fmt::format("{} cannot be read", name));
    if (hash_of(values) != hash) refuse(fmt::format("{} was changed after it was recorded", name));
    return values;
  }

 private:
  [[noreturn]] void refuse(const std::string& complaint) const {
    throw InputError(fmt::format("{}; record it again", complaint));
  }

  // What HDF5 would fetch from other files is not this recording.
  Hdf5Handle open(const std::string& name) const {
    H5L_info_t link{};
    if (H5Lget_info(file_.get(), name.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
      refuse(fmt::format("lacks {}", name));
    const hid_t set = H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT);
    if (set < 0) refuse(fmt::format("holds {}, which is no dataset", name));
    const Hdf5Handle creation(H5Dget_create_plist(set), H5Pclose);
    if (H5Pget_external_count(creation.get()) != 0 || H5Pget_layout(creation.get()) == H5D_VIRTUAL) {
      H5Dclose(set);
      refuse(fmt::format("keeps {} in another file", name));
    }
    return {set, H5Dclose};
  }

  std::vector<hsize_t> extent(hid_t set, const std::string& name) const {
    const Hdf5Handle space(H5Dget_space(set), H5Sclose);
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0 || rank > 8) refuse(fmt::format("holds {} of rank {}", name, rank));
    std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
    if (rank > 0) H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
    return sizes;
  }

  std::string exchanges() const {
    const Hdf5Handle set = open("exchanges");
    const auto sizes = extent(set.get(), "exchanges");
    const Hdf5Handle stored(H5Dget_type(set.get()), H5Tclose);
    if (sizes.size() != 1 || sizes[0] == 0 || sizes[0] > kMostExchanges ||
        H5Tequal(stored.get(), H5T_STD_U8LE) <= 0)
      refuse("holds no text of exchanges");
    std::string text(sizes[0], '\0');
    if (H5Dread(set.get(), H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0)
      refuse("holds exchanges that cannot be read");
    return text;
  }

  std::string attribute(hid_t object, const char* name) const {
    const Hdf5Handle found(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
    if (!found.valid()) refuse(fmt::format("has no '{}'", name));
    const Hdf5Handle type(H5Aget_type(found.get()), H5Tclose), space(H5Aget_space(found.get()), H5Sclose);
    const auto size = H5Tget_size(type.get());
    if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0 || size == 0 ||
        size > 4096 || H5Sget_simple_extent_npoints(space.get()) != 1)
      refuse(fmt::format("has a '{}' that is no short text", name));
    std::string text(size, '\0');
    if (H5Aread(found.get(), type.get(), text.data()) < 0)
      refuse(fmt::format("has a '{}' that cannot be read", name));
    return text.substr(0, text.find('\0'));
  }

  Hdf5Handle file_;
  Json hello_;
  std::map<std::string, std::vector<Json>> answers_;
  std::map<std::string, std::size_t> asked_;
};

Json failure(const std::string& kind, const std::string& message) {
  return {{"error", {{"kind", kind}, {"message", message}}}};
}

}  // namespace

void play_recording(const fs::path& path) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  std::optional<Recording> recording;
  std::string unusable;
  try {
    recording.emplace(path);
  } catch (const InputError& error) {
    unusable = error.what();
  }
  Dependence dependence;
  fs::path directory;
  std::int64_t opened = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const auto request = parse_json(line, "request");
    const auto name = request_of(request);
    Json reply = Json::object();
    if (name == "hello") directory = request.value("directory", "");
    try {
      if (!recording) throw InputError(unusable);
      const auto& asked = recording->asked();
      if (name == "hello" && asked.value("specification", Json()) != request.value("specification", Json()))
        throw InputError(fmt::format(
            "was recorded to be judged against '{}', not '{}'; use --spec with the one of the recording",
            printable(asked.value("specification", Json::object()).value("name", "?"), 60),
            printable(request.value("specification", Json::object()).value("name", "?"), 60)));
      if (name == "hello" && asked.value("dtype", "") != request.value("dtype", ""))
        throw InputError(fmt::format("was recorded in {}, not in {}; use --dtype with that of the recording",
                                     printable(asked.value("dtype", "?"), 20), request.value("dtype", "?")));
      NamedTensors tensors;
      if (request.contains("tensors"))
        tensors = read_safetensors(directory / request["tensors"].get<std::string>()).tensors;
      const auto key = dependence.key(request, tensors);
      if (name != "bye" && name != "close_cache") {
        const auto* exchange = recording->answer(key);
        if (exchange == nullptr) {
          reply = failure("cannot",
                          "the recording holds no answer to this question: record it anew with this version");
        } else {
          reply = (*exchange)["reply"];
          NamedTensors answer;
          if (exchange->contains("tensors"))
            for (const auto& [own, hash] : (*exchange)["tensors"].items())
              answer.emplace_back(own, recording->tensor(hash.is_string() ? hash.get<std::string>() : ""));
          if (!answer.empty()) {
            const auto file = fmt::format("played-{}.safetensors", request.value("id", 0));
            write_safetensors(directory / file, answer, {}, AtomicFile::Kept::while_running);
            reply["tensors"] = file;
          }
        }
      }
      if (name == "open_cache" && reply.contains("cache")) reply["cache"] = ++opened;
      if (!reply.contains("error")) dependence.answered(request, key, reply);
    } catch (const InputError& error) {
      reply = failure("failed", error.what());
    }
    reply["id"] = request.value("id", 0);
    std::cout << reply.dump({.ascii = true}) << std::endl;
    if (name == "bye") return;
  }
}

}  // namespace plumbline
