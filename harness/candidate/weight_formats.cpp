#include "harness/candidate/weight_formats.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

// Unsupported formats, recognised by the end of the name or the beginning of the content.
struct ForeignFormat {
  const char* ending;
  const char* beginning;  // empty: any file can begin so
  const char* what;
  const char* advice;
};

constexpr std::array kForeignFormats{
    ForeignFormat{".gguf", "GGUF", "GGUF, the format of llama.cpp",
                  "convert it back: AutoModelForCausalLM.from_pretrained(DIR, "
                  "gguf_file=NAME).save_pretrained(OUT) of transformers"},
    ForeignFormat{".ggml", "lmgg", "GGML, an old format of llama.cpp", "pass the original model"},
    ForeignFormat{".onnx", "", "ONNX, a graph", "pass the model that it was exported from"},
    ForeignFormat{
        ".msgpack", "", "Flax's format",
        "convert it: AutoModelForCausalLM.from_pretrained(DIR, from_flax=True).save_pretrained(OUT) "
        "of transformers"},
    ForeignFormat{
        "tf_model.h5", "\x89HDF", "TensorFlow's format",
        "convert it: AutoModelForCausalLM.from_pretrained(DIR, from_tf=True).save_pretrained(OUT) of "
        "transformers"},
    ForeignFormat{".npz", "", "NumPy's format", "save it as safetensors: safetensors.numpy.save_file"},
    ForeignFormat{".npy", "\x93NUM", "NumPy's format", "save it as safetensors: safetensors.numpy.save_file"},
    ForeignFormat{".pdparams", "", "Paddle's format", "save it as safetensors"},
    ForeignFormat{".tar", "", "an archive", "unpack it and pass its contents"},
    ForeignFormat{".gz", "\x1f\x8b", "an archive", "unpack it and pass its contents"},
    ForeignFormat{".tgz", "\x1f\x8b", "an archive", "unpack it and pass its contents"},
    ForeignFormat{".zip", "", "an archive", "unpack it and pass its contents"},
    ForeignFormat{".7z", "7z\xbc\xaf", "an archive", "unpack it and pass its contents"}};

// By its content: the length of a header that fits, and the header's first character.
bool begins_as_safetensors(const fs::path& path) {
  const std::string first = first_bytes(path, 9);
  std::uint64_t header = 0;
  std::memcpy(&header, first.data(), std::min(first.size(), sizeof header));
  return first.size() == 9 && first.back() == '{' && header < InputFile(path).size();
}

const ForeignFormat* foreign_format_of(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return nullptr;
  if (begins_as_safetensors(path)) return nullptr;
  const std::string name = path.filename().string(), first = first_bytes(path, 8);
  for (const ForeignFormat& format : kForeignFormats) {
    const std::string beginning = format.beginning;
    if (name.ends_with(format.ending) || (!beginning.empty() && first.starts_with(beginning))) return &format;
  }
  return nullptr;
}

}  // namespace

std::string first_bytes(const fs::path& path, std::uint64_t most) {
  InputFile input(path);
  std::string first(std::min(input.size(), most), '\0');
  input.read_exactly(first.data(), first.size());
  return first;
}

bool is_safetensors(const fs::path& path) {
  if (begins_as_safetensors(path)) return true;
  const std::string first = first_bytes(path, 4);
  const bool pickle = first.starts_with("PK\x03\x04") || first.starts_with("\x80\x02");
  return !pickle && path.extension() == ".safetensors";
}

bool is_named_as_pickle(const std::string& name) {
  constexpr std::array endings{".pth", ".pt", ".bin", ".ckpt"};
  return std::any_of(endings.begin(), endings.end(), [&](const char* end) { return name.ends_with(end); });
}

bool is_foreign(const fs::path& path) {
  return foreign_format_of(path) != nullptr;
}

void refuse_foreign(const fs::path& path) {
  const ForeignFormat* format = foreign_format_of(path);
  if (format == nullptr) return;
  throw InputError(fmt::format("{}: is {}, which is not read; {}", printable(path.string(), 1000),
                               format->what, format->advice));
}

void require_pickle(const fs::path& path) {
  const std::string first = first_bytes(path, 23);
  const std::string file = printable(path.string(), 1000);
  if (first.empty()) throw InputError(file + ": is empty, expected a state dict that torch.save wrote");
  if (first == "version https://git-lfs") {
    throw InputError(file + ": is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
  }
}

}  // namespace plumbline
